/* test_detmath.c: the elementary functions against MPFR, with the errors that their
 * comments state. Every step below is prime, so that all low bits of the arguments occur. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <mpfr.h>

#include "detmath.h"

typedef float (*det_function)(float);
typedef void (*exact_function)(mpfr_t y, const mpfr_t x);

/* The largest errors met over a range of arguments. */
typedef struct {
    double ulp;      /* |y - exact| in units of the last place of exact */
    double absolute; /* |y - exact| */
    double scaled;   /* |y - exact| / max(|x|, 2^-100) */
} errors;

/* Walks the floats from bits `first` to bits `last`, `step` apart. */
static errors measure(det_function f, exact_function exact, uint32_t first, uint32_t last,
                      uint32_t step)
{
    errors worst = {0};
    mpfr_t x, y;
    mpfr_inits2(120, x, y, (mpfr_ptr)NULL);
    for (uint64_t bits = first; bits <= last; bits += step) {
        float argument = det_bits_float((uint32_t)bits);
        mpfr_set_flt(x, argument, MPFR_RNDN);
        exact(y, x);
        /* The exponent of MPFR's [1/2, 1); subnormals share the last place of 2^-126. */
        long exponent = mpfr_zero_p(y) || mpfr_get_exp(y) < -125 ? -125 : mpfr_get_exp(y);
        mpfr_sub_d(y, y, (double)f(argument), MPFR_RNDN);
        double error = fabs(mpfr_get_d(y, MPFR_RNDN));
        double ulp = ldexp(error, (int)(24 - exponent));
        double scaled = error / fmax(fabs((double)argument), 0x1p-100);
        worst.ulp = fmax(worst.ulp, ulp);
        worst.absolute = fmax(worst.absolute, error);
        worst.scaled = fmax(worst.scaled, scaled);
    }
    mpfr_clears(x, y, (mpfr_ptr)NULL);
    return worst;
}

static errors worse(errors a, errors b)
{
    return (errors){fmax(a.ulp, b.ulp), fmax(a.absolute, b.absolute), fmax(a.scaled, b.scaled)};
}

/* Both signs, |x| from 2^-30 to limit, about `count` arguments. */
static errors measure_both(det_function f, exact_function exact, float limit, uint32_t step)
{
    uint32_t first = det_float_bits(0x1p-30f), last = det_float_bits(limit);
    return worse(measure(f, exact, first, last, step),
                 measure(f, exact, first | 0x80000000, last | 0x80000000, step));
}

static void exact_exp2(mpfr_t y, const mpfr_t x)
{
    mpfr_exp2(y, x, MPFR_RNDN);
}

static void exact_exp(mpfr_t y, const mpfr_t x)
{
    mpfr_exp(y, x, MPFR_RNDN);
}

/* x / (1 + e^-x) */
static void exact_silu(mpfr_t y, const mpfr_t x)
{
    mpfr_neg(y, x, MPFR_RNDN);
    mpfr_exp(y, y, MPFR_RNDN);
    mpfr_add_ui(y, y, 1, MPFR_RNDN);
    mpfr_div(y, x, y, MPFR_RNDN);
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), by tanh itself and with the
 * precision that the cancellation needs. */
static void exact_gelu_tanh(mpfr_t y, const mpfr_t x)
{
    mpfr_t u, c;
    mpfr_inits2(400, u, c, (mpfr_ptr)NULL);
    mpfr_pow_ui(u, x, 3, MPFR_RNDN);
    mpfr_set_str(c, "0.044715", 10, MPFR_RNDN);
    mpfr_fma(u, u, c, x, MPFR_RNDN);
    mpfr_const_pi(c, MPFR_RNDN);
    mpfr_ui_div(c, 2, c, MPFR_RNDN);
    mpfr_sqrt(c, c, MPFR_RNDN);
    mpfr_mul(u, u, c, MPFR_RNDN);
    mpfr_tanh(u, u, MPFR_RNDN);
    mpfr_add_ui(u, u, 1, MPFR_RNDN);
    mpfr_mul(u, u, x, MPFR_RNDN);
    mpfr_div_ui(y, u, 2, MPFR_RNDN);
    mpfr_clears(u, c, (mpfr_ptr)NULL);
}

/* 0.5 x erfc(-x / sqrt 2) */
static void exact_gelu_erf(mpfr_t y, const mpfr_t x)
{
    mpfr_sqrt_ui(y, 2, MPFR_RNDN);
    mpfr_div(y, x, y, MPFR_RNDN);
    mpfr_neg(y, y, MPFR_RNDN);
    mpfr_erfc(y, y, MPFR_RNDN);
    mpfr_mul(y, y, x, MPFR_RNDN);
    mpfr_div_ui(y, y, 2, MPFR_RNDN);
}

static void exp2f_oracle(void **state)
{
    (void)state;
    /* 0 to -2^-30, -2^-30 to -126, and the positive half. */
    uint32_t small = det_float_bits(-0x1p-30f);
    errors e = measure(det_exp2f, exact_exp2, 0x80000000, small, 10007);
    e = worse(e, measure(det_exp2f, exact_exp2, small, det_float_bits(-126.0f), 997));
    e = worse(e, measure(det_exp2f, exact_exp2, 0, det_float_bits(126.0f), 10007));
    assert_true(e.ulp < 0.8);
    assert_true(e.ulp > 0.5); /* else the measurement is broken */
}

static void exp2f_special(void **state)
{
    (void)state;
    assert_true(det_exp2f(0.0f) == 1.0f);
    assert_true(det_exp2f(-0.0f) == 1.0f);
    assert_true(det_exp2f(-0x1p-149f) == 1.0f);
    for (int e = -126; e <= 126; e++)
        assert_true(det_exp2f((float)e) == ldexpf(1.0f, e));
    assert_true(det_exp2f(nextafterf(-126.0f, -127.0f)) == 0.0f);
    assert_true(det_exp2f(-0x1p30f) == 0.0f);
    assert_true(det_exp2f(-0x1p127f) == 0.0f);
    assert_true(det_exp2f(-INFINITY) == 0.0f);
}

/* Where one polynomial piece meets the next the function must not fall by more than
 * its error. */
static void exp2f_monotone(void **state)
{
    (void)state;
    for (float seam = -0.5f; seam > -40.0f; seam -= 1.0f) {
        uint32_t bits = det_float_bits(seam);
        for (uint32_t b = bits + 500; b > bits - 500; b--) {
            float low = det_exp2f(det_bits_float(b)), high = det_exp2f(det_bits_float(b - 1));
            assert_true(high >= low - 2 * 0x1p-24f * low);
        }
    }
}

static void expf_oracle(void **state)
{
    (void)state;
    errors e = measure_both(det_expf, exact_exp, 87.0f, 1999);
    assert_true(e.ulp < 1.0);
    assert_true(det_expf(0.0f) == 1.0f && det_expf(-0.0f) == 1.0f);
    assert_true(det_expf(-87.5f) == 0.0f && det_expf(-INFINITY) == 0.0f);
}

static void siluf_oracle(void **state)
{
    (void)state;
    assert_true(measure_both(det_siluf, exact_silu, 60.0f, 2503).ulp < 2.5);
    assert_true(det_siluf(0x1p100f) == 0x1p100f);
    assert_true(det_siluf(-0x1p100f) == 0.0f);
    assert_true(det_siluf(0.0f) == 0.0f);
}

static void gelu_tanh_oracle(void **state)
{
    (void)state;
    assert_true(measure_both(det_gelu_tanh, exact_gelu_tanh, 15.0f, 8009).scaled < 1.2e-7);
    assert_true(det_gelu_tanh(0x1p100f) == 0x1p100f);
    assert_true(det_gelu_tanh(-0x1p100f) == 0.0f);
    assert_true(det_gelu_tanh(0.0f) == 0.0f);
}

static void gelu_erf_oracle(void **state)
{
    (void)state;
    assert_true(measure_both(det_gelu_erf, exact_gelu_erf, 15.0f, 4003).scaled < 2.0e-7);
    assert_true(det_gelu_erf(0x1p100f) == 0x1p100f);
    assert_true(det_gelu_erf(-0x1p100f) == 0.0f);
    assert_true(det_gelu_erf(0.0f) == 0.0f);
}

static void rint_ties_to_even(void **state)
{
    (void)state;
    for (int i = -1000; i <= 1000; i++) {
        float x = (float)i + 0.5f;
        assert_int_equal(det_rint_s32(x), i % 2 == 0 ? i : i + 1);
        assert_int_equal(det_rint_s32(nextafterf(x, -1e9f)), i);
        assert_int_equal(det_rint_s32(nextafterf(x, 1e9f)), i + 1);
    }
    assert_int_equal(det_rint_s32(0x1p30f), 1 << 30);
    assert_int_equal(det_rint_s32(-0x1p31f), INT32_MIN);
}

static void powers_of_two(void **state)
{
    (void)state;
    for (int e = -126; e <= 127; e++) {
        assert_true(det_pow2(e) == ldexpf(1.0f, e));
        assert_int_equal(det_exponent(ldexpf(1.0f, e)), e);
        assert_int_equal(det_exponent(-nextafterf(ldexpf(1.0f, e), INFINITY)), e);
    }
    /* The two steps of det_scale2() round but once for what norm() gives it. */
    for (int e = -240; e <= 214; e++)
        for (int k = -20; k <= 42; k++)
            assert_true(det_scale2(ldexpf(1.2345678f, k), e) == ldexpf(1.2345678f, k + e));
}

/* The function is monotone in n (every squaring is), so that it equals the floor
 * everywhere if it does on both sides of each of its 2^21 steps. */
static void log2_q16_exact(void **state)
{
    (void)state;
    mpfr_t power, step;
    mpfr_inits2(128, power, step, (mpfr_ptr)NULL);
    for (int fraction = 0; fraction < 65536; fraction++) {
        mpfr_set_ui_2exp(power, (unsigned long)fraction, -16, MPFR_RNDN);
        mpfr_exp2(power, power, MPFR_RNDN);
        for (int whole = 0; whole < 32; whole++) {
            mpfr_mul_2ui(step, power, (unsigned long)whole, MPFR_RNDN);
            mpfr_ceil(step, step);
            if (mpfr_cmp_ui(step, UINT32_MAX) > 0)
                continue;
            uint32_t n = (uint32_t)mpfr_get_ui(step, MPFR_RNDN);
            int32_t log = whole * 65536 + fraction;
            if (det_log2_q16(n) < log || (n > 1 && det_log2_q16(n - 1) >= log))
                fail_msg("log2(%u) is not below, or not at, %d / 65536", n, log);
        }
    }
    mpfr_clears(power, step, (mpfr_ptr)NULL);
    assert_int_equal(det_log2_q16(1), 0);
    assert_int_equal(det_log2_q16(UINT32_MAX), 32 * 65536 - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp2f_oracle),    cmocka_unit_test(exp2f_special),
        cmocka_unit_test(exp2f_monotone),  cmocka_unit_test(expf_oracle),
        cmocka_unit_test(siluf_oracle),    cmocka_unit_test(gelu_tanh_oracle),
        cmocka_unit_test(gelu_erf_oracle), cmocka_unit_test(rint_ties_to_even),
        cmocka_unit_test(powers_of_two),   cmocka_unit_test(log2_q16_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
