/* nbd-server: the transmission phase of the NBD protocol (old style, no handshake) on 127.0.0.1, for one client.
 *
 *   nbd-server [-p PORT] [-s MIB] [-f FILE [-D]] [-n] [-d MS] [-w MS] [-l] [-M]
 *
 *   -p  port; 0 (default): any free one. The port is printed as "PORT n"
 *   -s  size of the export in MiB (default 600); kept in memory unless -f or -n
 *   -f  keep it in FILE (buffered); -D: with O_DIRECT
 *   -n  keep nothing: writes are thrown away, reads give zeroes
 *   -d  answer every write MS milliseconds later, without slowing the others down: holds a known number in flight
 *   -w  wait MS milliseconds before each request is read: what was sent meanwhile stays in the client's memory
 *   -l  mlockall()        -M  PR_SET_IO_FLUSHER (PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE)
 *
 * The same source serves from the host and from inside the guest.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC 0x67446698u
#define LARGEST (4u << 20)
#define HELD 4096 /* replies that may be held back at once */
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

enum { NBD_READ = 0, NBD_WRITE = 1, NBD_DISCONNECT = 2 };

struct request {
	uint32_t magic, type;
	uint64_t handle, from;
	uint32_t length;
} __attribute__((packed));

struct reply {
	uint32_t magic, error;
	uint64_t handle;
} __attribute__((packed));

struct late {
	struct timespec due;
	struct reply reply;
};

static char *memory, *buffer;
static int file = -1, discard, delay_ms, wait_ms, client;
static uint64_t size = 600ull << 20;
static struct late queue[HELD];
static unsigned head, tail;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER, send_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_grew = PTHREAD_COND_INITIALIZER;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int receive(void *to, size_t left)
{
	for (char *at = to; left;) {
		ssize_t got = recv(client, at, left, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		at += got;
		left -= got;
	}
	return 0;
}

static int transmit(const void *from, size_t left)
{
	for (const char *at = from; left;) {
		ssize_t sent = send(client, at, left, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -1;
		at += sent;
		left -= sent;
	}
	return 0;
}

static int answer(const struct reply *reply, const void *data, size_t length)
{
	pthread_mutex_lock(&send_lock);
	int failed = transmit(reply, sizeof *reply) || (length && transmit(data, length));
	pthread_mutex_unlock(&send_lock);
	return failed;
}

static void *answer_late(void *unused)
{
	(void)unused;
	for (;;) {
		pthread_mutex_lock(&queue_lock);
		while (head == tail)
			pthread_cond_wait(&queue_grew, &queue_lock);
		struct late next = queue[tail % HELD];
		pthread_mutex_unlock(&queue_lock);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next.due, NULL);
		answer(&next.reply, NULL, 0);
		pthread_mutex_lock(&queue_lock);
		tail++;
		pthread_mutex_unlock(&queue_lock);
	}
	return NULL;
}

static void hold_back(struct reply reply)
{
	struct late late = {.reply = reply};
	clock_gettime(CLOCK_MONOTONIC, &late.due);
	long nanoseconds = late.due.tv_nsec + delay_ms % 1000 * 1000000L;
	late.due.tv_sec += delay_ms / 1000 + nanoseconds / 1000000000L;
	late.due.tv_nsec = nanoseconds % 1000000000L;
	pthread_mutex_lock(&queue_lock);
	if (head - tail == HELD) {
		fprintf(stderr, "more than %d replies held back\n", HELD);
		exit(1);
	}
	queue[head++ % HELD] = late;
	pthread_cond_signal(&queue_grew);
	pthread_mutex_unlock(&queue_lock);
}

/* 0, or the error to answer with */
static uint32_t keep(char *data, uint64_t from, uint32_t length)
{
	if (memory)
		memcpy(memory + from, data, length);
	else if (!discard && pwrite(file, data, length, from) != (ssize_t)length)
		return EIO;
	return 0;
}

static uint32_t look_up(char *data, uint64_t from, uint32_t length)
{
	if (memory)
		memcpy(data, memory + from, length);
	else if (discard)
		memset(data, 0, length);
	else if (pread(file, data, length, from) < 0)
		return EIO;
	return 0;
}

static int one_request(void)
{
	struct request request;
	if (wait_ms)
		usleep(wait_ms * 1000);
	if (receive(&request, sizeof request))
		return -1;
	uint32_t type = be32toh(request.type) & 0xffff, length = be32toh(request.length);
	uint64_t from = be64toh(request.from);
	struct reply reply = {htobe32(REPLY_MAGIC), 0, request.handle};
	if (be32toh(request.magic) != REQUEST_MAGIC || type == NBD_DISCONNECT)
		return -1;
	if (type == NBD_READ || type == NBD_WRITE) {
		if (length > LARGEST || from > size || length > size - from)
			return -1;
	}
	if (type == NBD_WRITE) {
		if (receive(buffer, length))
			return -1;
		reply.error = htobe32(keep(buffer, from, length));
		if (delay_ms) {
			hold_back(reply);
			return 0;
		}
	} else if (type == NBD_READ) {
		reply.error = htobe32(look_up(buffer, from, length));
		return answer(&reply, buffer, reply.error ? 0 : length);
	}
	return answer(&reply, NULL, 0);
}

static int listen_on(int port)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1, small = 65536;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof at;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (wait_ms) /* so that what waits does not wait here */
		setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	if (bind(listener, (void *)&at, sizeof at) || listen(listener, 1) || getsockname(listener, (void *)&at, &length))
		fail("listen on 127.0.0.1");
	printf("PORT %d\n", ntohs(at.sin_port));
	fflush(stdout);
	return listener;
}

int main(int argc, char **argv)
{
	int option, port = 0, lock = 0, flusher = 0, direct = 0, yes = 1;
	const char *path = NULL;
	while ((option = getopt(argc, argv, "p:s:f:Dnd:w:lM")) != -1)
		switch (option) {
		case 'p': port = atoi(optarg); break;
		case 's': size = strtoull(optarg, NULL, 10) << 20; break;
		case 'f': path = optarg; break;
		case 'D': direct = O_DIRECT; break;
		case 'n': discard = 1; break;
		case 'd': delay_ms = atoi(optarg); break;
		case 'w': wait_ms = atoi(optarg); break;
		case 'l': lock = 1; break;
		case 'M': flusher = 1; break;
		default: return 2;
		}
	if (posix_memalign((void **)&buffer, 4096, LARGEST))
		fail("memory");
	memset(buffer, 0, LARGEST);
	if (path && (file = open(path, O_RDWR | O_CREAT | direct, 0600)) < 0)
		fail(path);
	if (!path && !discard) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (memory == MAP_FAILED)
			fail("mmap");
	}
	int listener = listen_on(port);
	if (lock && mlockall(MCL_CURRENT | MCL_FUTURE))
		fail("mlockall");
	if (flusher && prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		fail("PR_SET_IO_FLUSHER");
	pthread_t thread;
	if (delay_ms && pthread_create(&thread, NULL, answer_late, NULL))
		fail("thread");
	client = accept(listener, NULL, NULL);
	if (client < 0)
		fail("accept");
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	while (!one_request())
		;
	return 0;
}
