/* The models of the benchmark written for cimba (3.0), in the ways that its own examples offer; `simulation.py` compiles it.
 *
 *   tandem-servers    a process a station, which takes customers from one object queue and puts them into the next
 *   tandem-customers  a process a customer, which acquires and releases one resource after another
 *   tandem-events     no process: an event function for the end of a service
 *   loss-process      a process that makes arrivals, an event for each departure
 *   loss-events       no process: an event function each for arrival and departure
 *
 * usage: cimba model events seed; prints events, throughput (loss: the part that is lost) and CPU seconds. An event is an end of
 * service or an arrival. Services are exponential with mean 1 (loss: lognormal, s = 1, mean 1; 32 units, arrivals at rate 28).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cimba.h>

enum { STATIONS = 4, CUSTOMERS = 64, UNITS = 32 };
static const double RATE = 28.0;

static long done, most, arrived, lost;
static int busy;
static struct cmb_objectqueue *queues[STATIONS];
static struct cmb_resource *resources[STATIONS];
static int queued[STATIONS];

static void count(void) {
    if (++done >= most) cmb_event_queue_clear();
}

static void *server(struct cmb_process *me, void *context) {
    (void)me;
    int i = (int)(intptr_t)context;
    for (;;) {
        void *customer = NULL;
        cmb_objectqueue_get(queues[i], &customer);
        cmb_process_hold(cmb_random_exponential(1.0));
        cmb_objectqueue_put(queues[(i + 1) % STATIONS], customer);
        count();
    }
}

static void *customer(struct cmb_process *me, void *context) {
    (void)me, (void)context;
    for (;;)
        for (int i = 0; i < STATIONS; i++) {
            cmb_resource_acquire(resources[i]);
            cmb_process_hold(cmb_random_exponential(1.0));
            cmb_resource_release(resources[i]);
            count();
        }
}

static void served(void *station, void *object) {
    (void)object;
    int i = (int)(intptr_t)station, next = (i + 1) % STATIONS;
    if (--queued[i]) cmb_event_schedule(served, station, NULL, cmb_time() + cmb_random_exponential(1.0), 0);
    if (!queued[next]++)
        cmb_event_schedule(served, (void *)(intptr_t)next, NULL, cmb_time() + cmb_random_exponential(1.0), 0);
    count();
}

static void depart(void *subject, void *object) {
    (void)subject, (void)object;
    busy--;
    count();
}

static void come(void) {
    arrived++;
    if (busy == UNITS) lost++;
    else {
        busy++;
        cmb_event_schedule(depart, NULL, NULL, cmb_time() + cmb_random_lognormal(-0.5, 1.0), 0);
    }
    count();
}

static void arrive(void *subject, void *object) {
    (void)subject, (void)object;
    cmb_event_schedule(arrive, NULL, NULL, cmb_time() + cmb_random_exponential(1.0 / RATE), 0);
    come();
}

static void *source(struct cmb_process *me, void *context) {
    (void)me, (void)context;
    while (done < most) { /* clearing the queue does not end the process that cleared it */
        cmb_process_hold(cmb_random_exponential(1.0 / RATE));
        come();
    }
}

static void begin(cmb_process_func *function, void *context) {
    struct cmb_process *process = cmb_process_create();
    cmb_process_initialize(process, "process", function, context, 0);
    cmb_process_start(process);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const char *model = argv[1];
    most = atol(argv[2]);
    cmb_random_initialize(strtoull(argv[3], 0, 10));
    cmb_event_queue_initialize(0.0);
    if (!strcmp(model, "tandem-servers")) {
        for (int i = 0; i < STATIONS; i++) {
            queues[i] = cmb_objectqueue_create();
            cmb_objectqueue_initialize(queues[i], "queue", CMB_UNLIMITED);
        }
        for (intptr_t i = 0; i < CUSTOMERS; i++) cmb_objectqueue_put(queues[0], (void *)(i + 1));
        for (intptr_t i = 0; i < STATIONS; i++) begin(server, (void *)i);
    } else if (!strcmp(model, "tandem-customers")) {
        for (int i = 0; i < STATIONS; i++) {
            resources[i] = cmb_resource_create();
            cmb_resource_initialize(resources[i], "station");
        }
        for (int i = 0; i < CUSTOMERS; i++) begin(customer, NULL);
    } else if (!strcmp(model, "tandem-events")) {
        queued[0] = CUSTOMERS;
        cmb_event_schedule(served, NULL, NULL, cmb_random_exponential(1.0), 0);
    } else if (!strcmp(model, "loss-process")) begin(source, NULL);
    else if (!strcmp(model, "loss-events")) cmb_event_schedule(arrive, NULL, NULL, cmb_random_exponential(1.0 / RATE), 0);
    else return 2;
    clock_t start = clock();
    cmb_event_queue_execute();
    double cpu = (double)(clock() - start) / CLOCKS_PER_SEC;
    double value = arrived ? (double)lost / (double)arrived : (double)done / STATIONS / cmb_time();
    printf("%ld %.9g %.6f\n", done, value, cpu);
    return 0;
}
