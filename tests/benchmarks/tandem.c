/* Closed tandem of single exponential servers: the same algorithm as the compiled event loop, written by hand for this one model.
 *
 * Customers at a station are counted. The next end of service comes from a tournament of the stations' clocks by (time, order),
 * whose matches are played again on the way up from a clock that is set. Times are exponential by the ziggurat of Marsaglia and
 * Tsang (2000) on 256 layers, the bits from xoshiro256++.
 * usage: tandem stations customers events seed; prints events, departures, simulated seconds and CPU seconds.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t s[4];
static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
static uint64_t bits(void) {
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotate(s[3], 45);
    return result;
}
static void seed(uint64_t x) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (x += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        s[i] = z ^ (z >> 31);
    }
}

/* Layer i of the ziggurat is as wide as edge[i] and as high as from exp(-edge[i]) to exp(-edge[i + 1]); layer 0 has the tail. */
static const double LAST = 7.69711747013104972, AREA = 3.949659822581572e-3;
static double edge[257], height[257];
static void layers(void) {
    edge[0] = AREA / exp(-LAST);
    edge[1] = LAST;
    for (int i = 2; i < 256; i++) edge[i] = -log(AREA / edge[i - 1] + exp(-edge[i - 1]));
    edge[256] = 0;
    for (int i = 0; i <= 256; i++) height[i] = exp(-edge[i]);
}
static double uniform(void) { return (bits() >> 11) * 0x1p-53; }
static double exponential(void) {
    for (;;) {
        uint64_t u = bits();
        int i = u & 255;
        double x = (u >> 11) * 0x1p-53 * edge[i];
        if (x < edge[i + 1]) return x;
        if (i == 0) return LAST + exponential();
        if (height[i] + uniform() * (height[i + 1] - height[i]) < exp(-x)) return x;
    }
}

typedef struct { int64_t time, order, clock; } node; /* the bits of a time that is not negative are ordered as it is */
static node *tree;
static int64_t leaves, order;
static void set(int64_t clock, double time) {
    int64_t at = leaves + clock;
    node best = {0, ++order, clock};
    memcpy(&best.time, &time, sizeof time);
    tree[at] = best;
    while (at > 1) {
        node rival = tree[at ^ 1];
        int lost = (rival.time < best.time) | ((rival.time == best.time) & (rival.order < best.order));
        int64_t mask = -(int64_t)lost;
        best.time ^= (best.time ^ rival.time) & mask;
        best.order ^= (best.order ^ rival.order) & mask;
        best.clock ^= (best.clock ^ rival.clock) & mask;
        tree[at >>= 1] = best;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int n = atoi(argv[1]), customers = atoi(argv[2]);
    long events = atol(argv[3]), departures = 0;
    seed(strtoull(argv[4], 0, 10));
    layers();
    for (leaves = 1; leaves < n; leaves *= 2) {}
    tree = calloc(2 * leaves, sizeof *tree);
    int64_t *present = calloc(n, sizeof *present);
    double *mean = malloc(n * sizeof *mean), now = 0;
    for (int i = 0; i < n; i++) mean[i] = 1;
    for (int64_t i = 0; i < leaves; i++) tree[leaves + i].clock = i, set(i, INFINITY);
    present[0] = customers;
    set(0, mean[0] * exponential());
    clock_t begin = clock();
    for (long i = 0; i < events; i++) {
        int64_t at = tree[1].clock, to = at + 1;
        memcpy(&now, &tree[1].time, sizeof now);
        if (to == n) { to = 0; departures++; }
        set(at, --present[at] ? now + mean[at] * exponential() : INFINITY);
        if (!present[to]++) set(to, now + mean[to] * exponential());
    }
    printf("%ld %ld %.9g %.6f\n", events, departures, now, (double)(clock() - begin) / CLOCKS_PER_SEC);
    return 0;
}
