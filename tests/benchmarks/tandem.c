/* Closed tandem of single exponential servers: the same algorithm as the compiled event loop, written by hand for this one model.
 *
 * Requests are in first-come queues (linked lists); the next end of service comes from a binary heap by (time, number) whose top
 * is a hole that the next start of service fills. Times are -mean log(1 - u), u from xoshiro256++.
 * usage: tandem stations customers events seed; prints events, departures, simulated seconds and CPU seconds.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t s[4];
static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
static double uniform(void) {
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotate(s[3], 45);
    return (result >> 11) * 0x1p-53;
}
static void seed(uint64_t x) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = (x += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        s[i] = z ^ (z >> 31);
    }
}

typedef struct { double time; uint64_t number; int customer; } entry;
typedef struct { int first, last, queued, busy; double mean; } station;
static entry *heap;
static int size, hole, *place, *next;
static uint64_t number;
static double now;
static station *stations;

static int earlier(entry a, entry b) { return a.time < b.time || (a.time == b.time && a.number < b.number); }
static void sink(entry e) {
    int at = 0;
    for (;;) {
        int down = 2 * at + 1;
        if (down >= size) break;
        if (down + 1 < size && earlier(heap[down + 1], heap[down])) down++;
        if (earlier(e, heap[down])) break;
        heap[at] = heap[down];
        at = down;
    }
    heap[at] = e;
}
static void schedule(double time, int customer) {
    entry e = {time, ++number, customer};
    if (hole) { hole = 0; sink(e); return; }
    int at = size++;
    while (at > 0 && !(heap[(at - 1) / 2].time <= time)) { heap[at] = heap[(at - 1) / 2]; at = (at - 1) / 2; }
    heap[at] = e;
}
static void start(station *q, int customer) { schedule(now - q->mean * log1p(-uniform()), customer); }
static void enter(int at, int customer) {
    station *q = &stations[at];
    place[customer] = at;
    if (!q->busy) { q->busy = 1; start(q, customer); return; }
    next[customer] = -1;
    if (q->queued++) next[q->last] = customer; else q->first = customer;
    q->last = customer;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int n = atoi(argv[1]), customers = atoi(argv[2]);
    long events = atol(argv[3]), departures = 0;
    seed(strtoull(argv[4], 0, 10));
    stations = calloc(n, sizeof *stations);
    heap = calloc(n + 1, sizeof *heap);
    place = calloc(customers, sizeof *place);
    next = calloc(customers, sizeof *next);
    for (int i = 0; i < n; i++) stations[i].mean = 1;
    for (int i = 0; i < customers; i++) enter(0, i);
    clock_t begin = clock();
    for (long i = 0; i < events; i++) {
        now = heap[0].time;
        hole = 1;
        int customer = heap[0].customer, at = place[customer];
        station *q = &stations[at];
        if (q->queued) { q->queued--; int other = q->first; q->first = next[other]; start(q, other); } else q->busy = 0;
        if (at + 1 == n) { departures++; enter(0, customer); } else enter(at + 1, customer);
        if (hole) { hole = 0; if (--size) sink(heap[size]); }
    }
    printf("%ld %ld %.9g %.6f\n", events, departures, now, (double)(clock() - begin) / CLOCKS_PER_SEC);
    return 0;
}
