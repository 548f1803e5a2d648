/* test_rope.c: the integer RoPE tables against MPFR. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <mpfr.h>
#include <stdlib.h>

#include "rope.h"

/* The frequency of a pair in radians, by MPFR; bits enough that its errors do not count. */
static void mpfr_frequency(mpfr_t f, const rope_config *c, int i, int head_dim)
{
    mpfr_t cycles;
    mpfr_init2(cycles, 200);
    mpfr_set_si(f, -2 * i, MPFR_RNDN);
    mpfr_div_si(f, f, head_dim, MPFR_RNDN);
    mpfr_set_d(cycles, c->theta, MPFR_RNDN);
    mpfr_pow(f, cycles, f, MPFR_RNDN);
    mpfr_const_pi(cycles, MPFR_RNDN);
    mpfr_div(cycles, f, cycles, MPFR_RNDN);
    mpfr_mul_d(cycles, cycles, c->original_context / 2, MPFR_RNDN);
    double turns = mpfr_get_d(cycles, MPFR_RNDN), s = 1;
    if (c->scaling == ROPE_LLAMA3) {
        mpfr_sub_d(cycles, cycles, c->low_freq_factor, MPFR_RNDN);
        mpfr_div_d(cycles, cycles, c->high_freq_factor - c->low_freq_factor, MPFR_RNDN);
        s = turns < c->low_freq_factor ? 0 : turns > c->high_freq_factor ? 1 : -1;
        if (s >= 0)
            mpfr_set_d(cycles, s, MPFR_RNDN);
    } else {
        mpfr_set_d(cycles, c->scaling == ROPE_LINEAR ? 0 : 1, MPFR_RNDN);
    }
    /* f * (s + (1 - s) / factor) */
    mpfr_t slow;
    mpfr_init2(slow, 200);
    mpfr_si_sub(slow, 1, cycles, MPFR_RNDN);
    mpfr_div_d(slow, slow, c->scaling == ROPE_PLAIN ? 1 : c->factor, MPFR_RNDN);
    mpfr_add(slow, slow, cycles, MPFR_RNDN);
    mpfr_mul(f, f, slow, MPFR_RNDN);
    mpfr_clears(cycles, slow, (mpfr_ptr)NULL);
}

/* The largest error of the tables, in units of 2^-30, at every step-th position. */
static double rope_error(const rope_config *c, int context, int head_dim, int step)
{
    size_t pairs = (size_t)head_dim / 2, count = (size_t)context * pairs;
    int32_t *cosine = malloc(count * sizeof *cosine), *sine = malloc(count * sizeof *sine);
    double worst = 0;
    mpfr_t f, s, k;
    mpfr_inits2(200, f, s, k, (mpfr_ptr)NULL);
    assert_true(rope_config_valid(c));
    uint64_t *turns = malloc(pairs * sizeof *turns);
    rope_turns(turns, head_dim, c);
    rope_rows(cosine, sine, turns, (int)pairs, 0, context);
    free(turns);
    for (size_t i = 0; i < pairs; i++) {
        mpfr_frequency(f, c, (int)i, head_dim);
        for (int pos = context - 1; pos >= 0; pos -= step) {
            size_t at = (size_t)pos * pairs + i;
            mpfr_mul_si(k, f, pos, MPFR_RNDN);
            mpfr_sin_cos(s, k, k, MPFR_RNDN);
            mpfr_mul_2si(s, s, 30, MPFR_RNDN);
            mpfr_mul_2si(k, k, 30, MPFR_RNDN);
            mpfr_sub_si(s, s, sine[at], MPFR_RNDN);
            mpfr_sub_si(k, k, cosine[at], MPFR_RNDN);
            worst = fmax(worst, fabs(mpfr_get_d(s, MPFR_RNDN)));
            worst = fmax(worst, fabs(mpfr_get_d(k, MPFR_RNDN)));
        }
    }
    mpfr_clears(f, s, k, (mpfr_ptr)NULL);
    free(cosine);
    free(sine);
    return worst;
}

static void rope_oracle(void **state)
{
    (void)state;
    static const rope_config configs[] = {
        {.theta = 10000},
        {.theta = 500000},
        {.theta = 1.0000001},
        {.theta = 0x1p40},
        {.theta = 12345.678},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 4},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 2.7},
        {500000, ROPE_LLAMA3, 8, 1, 4, 8192},
        {500000, ROPE_LLAMA3, 32, 1, 4, 8192},
        {10000, ROPE_LLAMA3, 3.3, 0.7, 5.1, 1000},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        double near = rope_error(&configs[i], 512, 64, 1);
        double far = rope_error(&configs[i], 131072, 8, 97);
        print_message("theta %.9g scaling %d: error %.6f, at far positions %.6f\n",
                      configs[i].theta, (int)configs[i].scaling, near, far);
        assert_true(near <= 0.5 + 0x1p-10 && far <= 0.5 + 0x1p-10);
    }
    static const rope_config bad[] = {
        {.theta = 1},
        {.theta = NAN},
        {.theta = 0x1p41},
        {.theta = 10000, .scaling = ROPE_LINEAR, .factor = 0.5},
        {10000, ROPE_LLAMA3, 8, 4, 4, 8192},
        {10000, ROPE_LLAMA3, 8, 1, 4, INFINITY},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(rope_config_valid(&bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
