/* Initial weights: the normal's quantiles, and that pieces do not matter.
 */
#include "check.h"
#include "model/draw.h"

#include <math.h>
#include <string.h>

static void test_quantile(void)
{
    static const struct {
        double p, z;
    } known[] = {{0.25, -0.6744897501960817}, {0.001, -3.090232306167814}, {1e-20, -9.262340089798408}};
    CHECK(clip_normal_quantile(0.5) == 0, "");
    for (size_t i = 0; i < 3; i++) {
        double z = clip_normal_quantile(known[i].p);
        CHECK(fabs(z - known[i].z) < 1e-14 * fabs(z), "%.17g", z);
    }
    /* It undoes the distribution function, on both sides: as far as p near 1, a multiple of 2^-53, can say
     * it. */
    for (double z = -6; z <= 6; z += 0.01) {
        double p = 0.5 * erfc(-z / sqrt(2)), density = 0.3989422804 * exp(-z * z / 2);
        double bound = 1e-14 * (1 + fabs(z)) + (z > 0 ? 0x1p-53 / density : 0);
        CHECK(fabs(clip_normal_quantile(p) - z) < bound, "%g", z);
    }
}

static struct clip_slot slot_of(const char *name, enum clip_draw draw, double scale)
{
    struct clip_slot slot = {.ndim = 1, .shape = {1 << 20}, .draw = draw, .scale = scale};
    snprintf(slot.name, sizeof slot.name, "%s", name);
    return slot;
}

static void test_pieces(void)
{
    enum { N = 1001 };
    float whole[N], piece[N], other[N];
    struct clip_slot a = slot_of("a", CLIP_DRAW_NORMAL, 0.5), b = slot_of("b", CLIP_DRAW_NORMAL, 0.5);
    clip_draw(3, &a, 0, N, whole);
    for (size_t i = 0; i < N; i += 7)
        clip_draw(3, &a, i, N - i < 7 ? N - i : 7, piece + i);
    CHECK(memcmp(whole, piece, sizeof whole) == 0, "");
    clip_draw(3, &b, 0, N, other);
    CHECK(memcmp(whole, other, sizeof whole) != 0, "other names give other numbers");
    clip_draw(4, &a, 0, N, other);
    CHECK(memcmp(whole, other, sizeof whole) != 0, "other seeds give other numbers");
}

/* The second and the fourth moment of what is drawn of scale 1, and the bounds of the largest of many. */
static const struct {
    enum clip_draw draw;
    double second, fourth, least, most;
} distributions[] = {{CLIP_DRAW_NORMAL, 1, 3, 4, 6.5},
                     {CLIP_DRAW_UNIFORM, 1 / 3., 0.2, 0.999, 1},
                     {CLIP_DRAW_TRUNCATED, 0.77374, 1.41623, 1.999, 2}};

static void test_moments(void)
{
    enum { N = 1 << 18 };
    float *x = calloc(N, sizeof *x);
    CHECK(x != NULL, "");
    for (size_t d = 0; d < sizeof distributions / sizeof *distributions && x; d++) {
        struct clip_slot slot = slot_of("visual.proj", distributions[d].draw, 2);
        clip_draw(1, &slot, 0, N, x);
        double moments[5] = {0}, largest = 0;
        for (size_t i = 0; i < N; i++) {
            double power = 1;
            for (int k = 1; k <= 4; k++)
                moments[k] += (power *= (double)x[i] / 2);
            largest = fmax(largest, fabs((double)x[i]) / 2);
        }
        for (int k = 1; k <= 4; k++)
            moments[k] /= N;
        CHECK(fabs(moments[1]) < 0.01 && fabs(moments[3]) < 0.03, "%g %g", moments[1], moments[3]);
        CHECK(fabs(moments[2] - distributions[d].second) < 0.015 &&
                  fabs(moments[4] - distributions[d].fourth) < 0.1,
              "%g %g", moments[2], moments[4]);
        CHECK(largest > distributions[d].least && largest <= distributions[d].most, "%g", largest);
    }
    free(x);
}

int main(void)
{
    test_quantile();
    test_pieces();
    test_moments();
    return check_end();
}
