/* writer DEVICE BYTES DEPTH COUNT: COUNT direct writes of BYTES through Linux AIO, DEPTH of them in flight.
 *
 * The places are every other one, so that no two can be merged. For tracing what one request takes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REGION (256l << 20)

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	int device = open(argv[1], O_RDWR | O_DIRECT), depth = atoi(argv[3]);
	long bytes = atol(argv[2]), count = atol(argv[4]), places = REGION / bytes / 2, sent = 0, done = 0;
	aio_context_t context = 0;
	void *buffer;
	if (device < 0 || syscall(SYS_io_setup, depth, &context) || posix_memalign(&buffer, 4096, bytes))
		fail(argv[1]);
	memset(buffer, 0x5a, bytes);
	struct iocb *blocks = calloc(depth, sizeof *blocks), **ready = calloc(depth, sizeof *ready);
	struct io_event *ended = calloc(depth, sizeof *ended);
	int filled = 0;
	for (int n = 0; n < depth && sent < count; n++, sent++) {
		blocks[n] = (struct iocb){.aio_fildes = device, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_data = n};
		blocks[n].aio_buf = (unsigned long)buffer;
		blocks[n].aio_nbytes = bytes;
		blocks[n].aio_offset = sent % places * 2 * bytes;
		ready[filled++] = &blocks[n];
	}
	while (done < count) {
		if (filled && syscall(SYS_io_submit, context, filled, ready) != filled)
			fail("io_submit");
		filled = 0;
		int events = syscall(SYS_io_getevents, context, 1, depth, ended, NULL);
		if (events < 1)
			fail("io_getevents");
		for (int n = 0; n < events; n++, done++) {
			if (ended[n].res != bytes)
				fail("write");
			if (sent == count)
				continue;
			struct iocb *block = &blocks[ended[n].data];
			block->aio_offset = sent++ % places * 2 * bytes;
			ready[filled++] = block;
		}
	}
	return 0;
}
