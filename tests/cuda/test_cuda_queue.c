/* test_cuda_queue.c: work of the host beside the device: queued copies, events,
 * graphs; and the operation that keeps decoding on the device.
 *
 * Built twice, as test_cuda_ops.c is.
 */
#include "test_cuda_support.h"

#define SKIPPED 77

static void next_tokens_cuda(void **state)
{
    enum { ROWS = 700, VOCAB = 300 };
    ops_symbol found[ROWS];
    int32_t start[ROWS];
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        found[i] = (ops_symbol){(int32_t)(draw() % (VOCAB + 256)), draw(), draw()};
        start[i] = (int32_t)(draw() % 1000);
    }
    found[0].symbol = VOCAB - 1;
    found[1].symbol = VOCAB;
    pair symbols = pair_of(found, sizeof found), pos = pair_of(start, sizeof start);
    pair token = pair_zero(sizeof start);
    for (int rows = 0; rows <= ROWS; rows = rows * 2 + 1)
        for (int moves = 0; moves < 2; moves++) {
            BOTH(next_tokens(context[b], symbols.at[b], rows, VOCAB, 7, token.at[b],
                             moves ? pos.at[b] : NULL));
            pair_check(&token, "next_tokens", rows, VOCAB);
            pair_check(&pos, "next_tokens, positions", rows, VOCAB);
        }
    int32_t *host = (int32_t *)pair_download(&token, CPU);
    assert_int_equal(host[0], VOCAB - 1);
    assert_int_equal(host[1], 7);
    free(host);
    pair_free(&token);
    pair_free(&pos);
    pair_free(&symbols);
}

/* Round after round through the same two buffers, each waited for before it is used again. */
static void copies_keep_their_order(void **state)
{
    enum { N = 1000, BUFFERS = 2, ROUNDS = 9 };
    (void)state;
    for (int b = 0; b < 2; b++) {
        const ops *ops = backend[b];
        ops_context *ctx = context[b];
        int32_t *in[BUFFERS], *out[BUFFERS], *device;
        assert_int_equal(ops->alloc(ctx, (void **)&device, N * sizeof *device), GPUZIP_OK);
        for (int i = 0; i < BUFFERS; i++) {
            assert_int_equal(ops->host_alloc(ctx, (void **)&in[i], N * sizeof **in), GPUZIP_OK);
            assert_int_equal(ops->host_alloc(ctx, (void **)&out[i], N * sizeof **out), GPUZIP_OK);
            assert_int_equal(in[i][0] | in[i][N - 1], 0);
            assert_int_equal(ops->wait_event(ctx, i), GPUZIP_OK); /* never put */
        }
        for (int round = 0; round < ROUNDS + BUFFERS; round++) {
            int i = round % BUFFERS;
            if (round >= BUFFERS) {
                assert_int_equal(ops->wait_event(ctx, i), GPUZIP_OK);
                for (int j = 0; j < N; j++)
                    assert_int_equal(out[i][j], 1000 * (round - BUFFERS) + j);
            }
            for (int j = 0; j < N; j++)
                in[i][j] = 1000 * round + j;
            assert_int_equal(ops->upload(ctx, device, in[i], N * sizeof **in), GPUZIP_OK);
            assert_int_equal(ops->fetch(ctx, out[i], device, N * sizeof **out), GPUZIP_OK);
            assert_int_equal(ops->event(ctx, i), GPUZIP_OK);
        }
        assert_int_equal(ops->sync(ctx), GPUZIP_OK);
        for (int i = 0; i < BUFFERS; i++) {
            ops->host_release(ctx, in[i]);
            ops->host_release(ctx, out[i]);
        }
        ops->host_release(ctx, NULL);
        ops->release(ctx, device);
    }
}

/* A graph reads memory as it is when it is replayed. */
static void graphs_replay(void **state)
{
    enum { ROWS = 33, VOCAB = 50 };
    const ops *ops = &ops_cuda;
    ops_context *ctx = context[CUDA];
    ops_graph *graph = NULL;
    ops_symbol found[ROWS];
    int32_t token[ROWS], pos[ROWS];
    (void)state;
    pair symbols = pair_zero(sizeof found), tokens = pair_zero(sizeof token);
    pair positions = pair_zero(sizeof pos);
    assert_int_equal(ops->graph_begin(ctx), GPUZIP_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ops->next_tokens(ctx, symbols.at[CUDA], ROWS, VOCAB, 3, tokens.at[CUDA],
                                          positions.at[CUDA]),
                         GPUZIP_OK);
    assert_int_equal(ops->graph_end(ctx, &graph), GPUZIP_OK);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < ROWS; i++)
            found[i] = (ops_symbol){(round * 13 + i) % (VOCAB + 20), 0, 1};
        assert_int_equal(ops->upload(ctx, symbols.at[CUDA], found, sizeof found), GPUZIP_OK);
        assert_int_equal(ops->graph_replay(ctx, graph), GPUZIP_OK);
        assert_int_equal(ops->download(ctx, token, tokens.at[CUDA], sizeof token), GPUZIP_OK);
        assert_int_equal(ops->download(ctx, pos, positions.at[CUDA], sizeof pos), GPUZIP_OK);
        for (int i = 0; i < ROWS; i++) {
            assert_int_equal(token[i], found[i].symbol < VOCAB ? found[i].symbol : 3);
            assert_int_equal(pos[i], 2 * (round + 1));
        }
    }
    ops->graph_destroy(ctx, graph);
    ops->graph_destroy(ctx, NULL);
    pair_free(&positions);
    pair_free(&tokens);
    pair_free(&symbols);
}

/* Operations that cannot be recorded fail without side effects. */
static void graphs_fail(void **state)
{
    const ops *ops = &ops_cuda;
    ops_context *ctx = context[CUDA];
    ops_graph *graph = NULL;
    void *memory = NULL;
    (void)state;
    assert_int_equal(ops->graph_begin(ctx), GPUZIP_OK);
    assert_int_not_equal(ops->alloc(ctx, &memory, 100), GPUZIP_OK);
    assert_int_equal(ops->graph_end(ctx, &graph), GPUZIP_ERR_DEVICE);
    assert_null(graph);
    assert_null(memory);
    assert_int_equal(ops->graph_begin(ctx), GPUZIP_OK);
    assert_int_not_equal(ops->sync(ctx), GPUZIP_OK);
    assert_int_equal(ops->graph_end(ctx, &graph), GPUZIP_ERR_DEVICE);
    assert_int_equal(ops->sync(ctx), GPUZIP_OK);
    graphs_replay(state);
}

/* A call that is refused is reported once, not a second time by the next operation. */
static void refused_calls_are_forgotten(void **state)
{
    const ops *ops = &ops_cuda;
    ops_context *ctx = context[CUDA];
    ops_graph *graph = NULL;
    void *memory = NULL;
    (void)state;
    pair symbols = pair_zero(sizeof(ops_symbol)), token = pair_zero(sizeof(int32_t));
    assert_int_equal(ops->alloc(ctx, &memory, (size_t)1 << 60), GPUZIP_ERR_MEMORY);
    BOTH(next_tokens(context[b], symbols.at[b], 1, 5, 3, token.at[b], NULL));
    assert_int_equal(ops->graph_begin(ctx), GPUZIP_OK);
    assert_int_not_equal(ops->graph_begin(ctx), GPUZIP_OK);
    (void)ops->graph_end(ctx, &graph); /* whether the recording survives is the device's */
    ops->graph_destroy(ctx, graph);
    BOTH(next_tokens(context[b], symbols.at[b], 1, 5, 3, token.at[b], NULL));
    pair_check(&token, "after a refused call", 1, 5);
    pair_free(&token);
    pair_free(&symbols);
}

/* Memory of the host that is not of host_alloc() may change once upload() returns. */
static void uploads_are_staged(void **state)
{
    enum { N = 100000, ROUNDS = 4 };
    const ops *ops = &ops_cuda;
    ops_context *ctx = context[CUDA];
    int32_t *host = calloc(N, sizeof *host);
    (void)state;
    for (int round = 1; round <= ROUNDS; round++) {
        pair p = pair_zero(N * sizeof *host);
        for (int i = 0; i < N; i++)
            host[i] = round * N + i;
        assert_int_equal(ops->upload(ctx, p.at[CUDA], host, p.bytes), GPUZIP_OK);
        memset(host, 0, N * sizeof *host);
        assert_int_equal(ops->download(ctx, host, p.at[CUDA], p.bytes), GPUZIP_OK);
        for (int i = 0; i < N; i++)
            assert_int_equal(host[i], round * N + i);
        pair_free(&p);
    }
    free(host);
}

static void memory_is_counted(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        uint64_t available = 0, total = 0;
        assert_int_equal(backend[b]->memory(context[b], &available, &total), GPUZIP_OK);
        assert_true(available > 0 && available <= total);
        assert_int_equal(backend[b]->reserve(context[b], 1000, 1000), GPUZIP_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_tokens_cuda),   cmocka_unit_test(copies_keep_their_order),
        cmocka_unit_test(graphs_replay),      cmocka_unit_test(graphs_fail),
        cmocka_unit_test(memory_is_counted),  cmocka_unit_test(refused_calls_are_forgotten),
        cmocka_unit_test(uploads_are_staged),
    };
    if (ops_cuda.open(&context[CUDA], 0, 0, NULL) != GPUZIP_OK) {
#ifdef GPUZIP_REQUIRE_GPU
        return 1;
#else
        return SKIPPED;
#endif
    }
    if (ops_cpu.open(&context[CPU], 0, 1, NULL) != GPUZIP_OK)
        return 1;
    cmocka_set_test_filter(getenv("GPUZIP_TEST_FILTER"));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ops_cpu.close(context[CPU]);
    ops_cuda.close(context[CUDA]);
    return failed;
}
