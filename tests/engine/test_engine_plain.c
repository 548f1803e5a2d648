/* test_engine_plain.c: the engine's output with adaptation, against a plain implementation of
 * engine.h: one step after another, one row after another, without passes, stages and groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine_fixture.h"
#include "rangecoder.h"

/* ---- a plain implementation of engine.h ----------------------------------- */

/* Mixes step t of all streams, one row after another, and codes it. */
static void plain_step(const fixture *f, const engine_config *c, const text_block *block,
                       context_model *cm, ops_adaptive *learner, const float *logits, size_t t,
                       rc_encoder *rc)
{
    size_t length = container_stream_length((uint32_t)block->tokens, block->streams);
    int r = 0;
    for (uint32_t s = 0; s < block->streams && s * length + t < block->tokens; s++, r++) {
        ops_candidate candidate[1][OPS_CANDIDATES];
        int32_t candidates, symbol = (int32_t)block->token[s * length + t];
        ops_interval interval;
        ops_mix mix = {.experts = 1, .vocab = c->vocab, .escapes = c->escapes};
        mix.expert[0] = (ops_expert){.logits = logits + (size_t)r * model_logits_stride(f->m),
                                     .alpha = c->expert[0].alpha};
        mix.adaptive = learner;
        if (cm) {
            context_model_row row = {(int32_t)s, (uint32_t)t};
            context_model_predict(cm, &row, 1, candidate, &candidates);
            mix.candidate = candidate[0];
            mix.candidates = &candidates;
        }
        assert_int_equal(ops_cpu.mix_encode(f->ctx, &mix, 1, &symbol, &interval), GPUZIP_OK);
        rc_encode(&rc[s], interval.start, interval.freq);
    }
}

/* The streams' rows of step t, of a window from `base` on, through the model. */
static const float *plain_forward(model_state *state, const fixture *f, const text_block *block,
                                  size_t base, size_t t)
{
    int32_t token[64], slot[64], pos[64], bos = (int32_t)f->weights->config.bos;
    size_t length = container_stream_length((uint32_t)block->tokens, block->streams);
    const float *logits;
    int rows = 0;
    for (uint32_t s = 0; s < block->streams && s * length + t < block->tokens; s++, rows++) {
        uint32_t before = t == base ? UINT32_MAX : block->token[s * length + t - 1];
        token[rows] = before < TINY_VOCAB ? (int32_t)before : bos;
        slot[rows] = (int32_t)s;
        pos[rows] = (int32_t)(t - base);
    }
    ops_batch batch = {token, slot, pos, rows, 0};
    assert_int_equal(model_set_positions(state, t - base, 1), GPUZIP_OK);
    assert_int_equal(model_forward(state, &batch), GPUZIP_OK);
    assert_int_equal(model_logits(state, 0, rows, &logits), GPUZIP_OK);
    return logits;
}

/* Encodes a block whose streams have room, without an engine. */
static void plain_encode(const fixture *f, const engine_config *c, text_block *block)
{
    size_t length = container_stream_length((uint32_t)block->tokens, block->streams), t = 0;
    const schedule *plan = &c->schedule;
    size_t window = plan->hop ? (size_t)plan->window : length, origin = 0, update = 1, lengths[64];
    const uint32_t *tokens[64];
    rc_encoder rc[64];
    model_state *state;
    context_model *cm = NULL;
    ops_adaptive *learner;
    ops_adaptive_config config = {.vocab = c->vocab,
                                  .experts = 1,
                                  .bias = c->bias,
                                  .alpha = c->learn_alpha,
                                  .start = {c->expert[0].alpha},
                                  .weights = c->prior ? c->prior->weights[0] : NULL,
                                  .parts = 1,
                                  .states = 1};
    for (uint32_t s = 0; s < block->streams; s++) {
        size_t left = block->tokens - s * length;
        tokens[s] = block->token + s * length;
        lengths[s] = left < length ? left : length;
        rc_encode_begin(&rc[s], (uint8_t *)block->stream[s].data, ENGINE_STREAM_BOUND(lengths[s]));
    }
    context_model_config asked = {.vocab = c->vocab,
                                  .symbols = c->vocab + c->escapes,
                                  .token_suffix = c->token_suffix,
                                  .prior = c->prior,
                                  .ngrams = c->ngrams,
                                  .streams = (int)block->streams,
                                  .token = tokens,
                                  .length = lengths,
                                  .scope = plan->window_scope ? window : length,
                                  .update_interval = plan->update_interval};
    int rows = (int)block->streams;
    model_sizes sizes = {.slots = rows,
                         .window = plan->window,
                         .run = plan->hop ? 0 : 1,
                         .max_rows = rows,
                         .max_logits = rows};
    assert_int_equal(model_state_open(&state, f->m, f->ctx, &sizes), GPUZIP_OK);
    assert_int_equal(ops_cpu.adaptive_create(f->ctx, &learner, &config), GPUZIP_OK);
    if (c->prior)
        assert_int_equal(context_model_open(&cm, &asked), GPUZIP_OK);
    for (size_t base = 0; t < length; base += (size_t)plan->hop) { /* sliding: one window of all */
        if (plan->window_scope) {
            if (cm)
                context_model_reset(cm, base);
            assert_int_equal(ops_cpu.adaptive_reset(f->ctx, learner, 0, 1), GPUZIP_OK);
            origin = base;
            update = context_model_next_update(base, origin, plan->update_interval);
        }
        for (size_t at = base; at < base + window && at < length; at++) {
            const float *logits = plain_forward(state, f, block, base, at);
            if (at < t)
                continue;
            plain_step(f, c, block, cm, learner, logits, at, rc);
            t = at + 1;
            if (t < update)
                continue;
            if (cm)
                context_model_learn(cm, t);
            assert_int_equal(ops_cpu.mix_learn(f->ctx, learner, 1), GPUZIP_OK);
            update = context_model_next_update(t, origin, plan->update_interval);
        }
    }
    for (uint32_t s = 0; s < block->streams; s++)
        assert_true(rc_encode_end(&rc[s], &block->stream[s].size));
    context_model_close(cm);
    ops_cpu.adaptive_destroy(f->ctx, learner);
    model_state_close(state);
}

/* The engine writes the bytes of the plain implementation. */
static void code_is_what_it_should_be(void **state)
{
    static const struct {
        size_t n;
        uint32_t streams;
        int window, hop, update;
        bool scope;
        int learns;
    } cases[] = {
        {300, 7, 32, 12, 3, false, MIXING | CONTEXTS},
        {247, 3, 40, 40, 7, true, MIXING | CONTEXTS},
        {200, 2, 64, 64, 16, false, CONTEXTS},
        {150, 5, 16, 16, 4, true, MIXING},
        {200, 60, 64, 32, 1, false, MIXING | CONTEXTS},
        {300, 7, 32, 0, 3, false, MIXING | CONTEXTS},
        {250, 1, 2, 0, 4, false, MIXING},
        {500, 2, 64, 0, 16, false, CONTEXTS},
    };
    fixture f;
    (void)state;
    assert_true(fixture_open(&f, NULL, 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *want_bytes, *bytes;
        engine_config c = config_of(&f, cases[i].window, cases[i].hop, cases[i].update,
                                    cases[i].scope, cases[i].learns);
        text_block want = block_of(cases[i].n, cases[i].streams);
        assert_int_equal(engine_make_room(&want.stream, &want_bytes, want.tokens, want.streams),
                         GPUZIP_OK);
        plain_encode(&f, &c, &want);
        text_block block = encode(&f, &c, cases[i].n, cases[i].streams, 1, &bytes);
        check_same_code(&want, &block);
        free(block.stream);
        free(bytes);
        free(want.stream);
        free(want_bytes);
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_is_what_it_should_be),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
