/* watcher COUNTER STALL CONFIRM LIMIT: says whether the machine lives, without ever needing memory for it.
 *
 * All its memory is locked, it runs as SCHED_FIFO, and it reads one file, /proc/zoneinfo, that it opened and read once
 * before the load began: the seq_file keeps its buffer and the file's show function allocates nothing. (/proc/vmstat
 * allocates on every read. A second thread reads it, which may block; the watcher does not wait for that one.)
 *
 * Progress is a page dirtied (COUNTER, written by the hog) or a page written (nr_written). A stall is STALL seconds AND
 * the looks that belong to them without any: on an overloaded host the guest's clock runs on while it does not.
 * A stall is written to the console with sysrq-m and sysrq-w, and becomes a hang if CONFIRM more seconds bring nothing.
 *
 * Lines for the console begin with "LAB" and end with " ;", so that a torn one can be told.
 *   LAB sample ...   each second           LAB stall ... / LAB recovered ...
 *   LAB verdict is=survive|hang|slow|failed ...     LAB series ... (the course of free memory)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 5
#define KEEP_MS 20
#define ZONES 4
#define COURSE 2048
#define PRINTED 300

struct zone {
	char name[16];
	long free, low, min;
};

struct look {
	long free, written, writeback;
	int zones;
	struct zone zone[ZONES];
};

struct moment {
	int ms;
	int free, last_zone, written, dirtied;
};

static char text[65536], events[65536], line[1024];
static int zoneinfo, vmstat, console, sysrq;
static volatile long stalls = -1, kills = -1, throttled = -1;
static struct moment course[COURSE];
static int kept, keep_every = KEEP_MS;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_all(int file, char *into, int room)
{
	int length = 0, got;
	while (length < room - 1 && (got = pread(file, into + length, room - 1 - length, length)) > 0)
		length += got;
	into[length] = 0;
}

static long number_after(const char *from, const char *key)
{
	const char *at = strstr(from, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

static void say(const char *format, ...)
{
	va_list rest;
	va_start(rest, format);
	int length = vsnprintf(line, sizeof line - 4, format, rest);
	va_end(rest);
	memcpy(line + length, " ;\n", 3);
	if (write(console, line, length + 3) < 0)
		return; /* nowhere left to say so */
}

static void ask(const char *key)
{
	if (write(sysrq, key, 1) < 0)
		say("LAB error what=sysrq-%s", key);
}

static void take_look(struct look *look)
{
	read_all(zoneinfo, text, sizeof text);
	look->free = 0;
	look->zones = 0;
	look->written = number_after(text, "nr_written ");
	look->writeback = number_after(text, "nr_writeback ");
	for (char *at = strstr(text, "Node "); at && look->zones < ZONES; at = strstr(at + 1, "Node ")) {
		struct zone *zone = &look->zone[look->zones];
		char *end = strstr(at + 1, "Node "), *pages = strstr(at, "pages free");
		if (!pages || (end && pages > end) || number_after(pages, "managed ") <= 0)
			continue;
		if (sscanf(at, "Node %*d, zone %15s", zone->name) != 1)
			continue;
		zone->free = number_after(pages, "pages free");
		zone->min = number_after(pages, "min ");
		look->free += zone->free;
		look->zones++;
	}
}

/* Every KEEP_MS; when the room is full, every second moment goes and the distance doubles. */
static void keep(double t, const struct look *look, uint64_t dirtied)
{
	int ms = (int)(t * 1000);
	if (kept && ms - course[kept - 1].ms < keep_every)
		return;
	if (kept == COURSE) {
		for (int n = 0; n < COURSE / 2; n++)
			course[n] = course[2 * n];
		kept = COURSE / 2;
		keep_every *= 2;
	}
	long last = look->zones ? look->zone[look->zones - 1].free : 0;
	course[kept++] = (struct moment){ms, look->free, last, look->written, dirtied};
}

static void *count_events(void *unused)
{
	(void)unused;
	for (;;) {
		read_all(vmstat, events, sizeof events);
		kills = number_after(events, "oom_kill ");
		throttled = number_after(events, "pgscan_direct_throttle ");
		stalls = number_after(events, "allocstall_normal ") + number_after(events, "allocstall_dma32 ") +
			 number_after(events, "allocstall_movable ");
		usleep(400000);
	}
	return NULL;
}

static void print_course(void)
{
	int every = (kept + PRINTED - 1) / PRINTED;
	for (int n = 0; n < kept; n += every ? every : 1)
		say("LAB series ms=%d free=%d last=%d written=%d dirtied=%d", course[n].ms, course[n].free,
		    course[n].last_zone, course[n].written, course[n].dirtied);
}

static int open_or_fail(const char *path, int flags)
{
	int file = open(path, flags, 0600);
	if (file < 0) {
		perror(path);
		exit(1);
	}
	return file;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	double stall = atof(argv[2]), confirm = atof(argv[3]), limit = atof(argv[4]);
	int file = open_or_fail(argv[1], O_RDWR | O_CREAT);
	if (ftruncate(file, 4096))
		return 1;
	volatile uint64_t *counter = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
	zoneinfo = open_or_fail("/proc/zoneinfo", O_RDONLY);
	vmstat = open_or_fail("/proc/vmstat", O_RDONLY);
	console = open_or_fail("/dev/console", O_WRONLY);
	sysrq = open_or_fail("/proc/sysrq-trigger", O_WRONLY);
	struct sched_param priority = {.sched_priority = 50};
	if (mlockall(MCL_CURRENT | MCL_FUTURE) || sched_setscheduler(0, SCHED_FIFO, &priority))
		say("LAB error what=watcher-not-privileged");
	pthread_attr_t small;
	pthread_t thread;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	pthread_create(&thread, &small, count_events, NULL);

	struct look look, low;
	take_look(&look);
	low = look;
	for (int n = 0; n < low.zones; n++)
		low.zone[n].low = low.zone[n].free;
	double start = now(), said = start, moved = start, longest = 0;
	long looks = 0, written0 = look.written, written = look.written;
	uint64_t dirtied = 0;
	int stalled = 0;
	const char *verdict = NULL;
	say("LAB watching stall=%.0f confirm=%.0f limit=%.0f", stall, confirm, limit);
	while (!verdict) {
		take_look(&look);
		double t = now();
		looks++;
		if (look.free < low.free)
			low.free = look.free;
		for (int n = 0; n < look.zones; n++)
			if (look.zone[n].free < low.zone[n].low)
				low.zone[n].low = look.zone[n].free;
		keep(t - start, &look, counter[0]);
		if (counter[0] != dirtied || look.written != written) {
			if (t - moved > longest)
				longest = t - moved;
			if (stalled)
				say("LAB recovered ms=%d gap=%.1f", (int)((t - start) * 1000), t - moved);
			dirtied = counter[0];
			written = look.written;
			moved = t;
			looks = stalled = 0;
		}
		if (t - said >= 1) {
			said = t;
			say("LAB sample ms=%d free=%ld low=%ld written=%ld writeback=%ld dirtied=%lu stalls=%ld throttled=%ld kills=%ld",
			    (int)((t - start) * 1000), look.free, low.free, look.written - written0, look.writeback,
			    (unsigned long)counter[0], stalls, throttled, kills);
		}
		/* a third of the looks: each takes time of its own besides LOOK_MS */
		int quiet = looks > 1000 / LOOK_MS * stall / 3;
		if (!stalled && t - moved > stall && quiet) {
			stalled = 1;
			say("LAB stall ms=%d gap=%.1f looks=%ld", (int)((t - start) * 1000), t - moved, looks);
			ask("m");
			ask("w");
		}
		if (counter[1])
			verdict = counter[1] == 1 ? "survive" : "failed";
		else if (stalled && t - moved > stall + confirm)
			verdict = "hang";
		else if (t - start > limit)
			verdict = stalled ? "hang" : "slow";
		struct timespec pause = {0, LOOK_MS * 1000000};
		nanosleep(&pause, NULL);
	}
	double t = now();
	if (t - moved > longest)
		longest = t - moved;
	for (int n = 0; n < low.zones; n++)
		say("LAB zone name=%s low=%ld min=%ld", low.zone[n].name, low.zone[n].low, look.zone[n].min);
	print_course();
	for (int twice = 0; twice < 2; twice++)
		say("LAB verdict is=%s ms=%d low=%ld written=%ld dirtied=%lu gap=%.1f looks=%ld stalls=%ld throttled=%ld kills=%ld",
		    verdict, (int)((t - start) * 1000), low.free, look.written - written0, (unsigned long)counter[0], longest,
		    looks, stalls, throttled, kills);
	if (strcmp(verdict, "survive") && strcmp(verdict, "failed"))
		ask("b"); /* nobody else may be alive to end the guest */
	return 0;
}
