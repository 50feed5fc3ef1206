/* hog MIB PROCESSES COUNTER: dirties MIB of anonymous memory once, shared out over PROCESSES, and counts pages.
 *
 * COUNTER is a file of one page in a file system that is never written back (ramfs or tmpfs): word 0 counts pages,
 * word 1 becomes 1 when all processes have finished, 2 when one has failed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Pages that do not compress and are all different (xorshift64). */
static void fill(uint64_t *page, uint64_t *state)
{
	for (unsigned word = 0; word < PAGE / sizeof *page; word++) {
		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
		page[word] = *state;
	}
}

static int dirty(size_t length, uint64_t *counter, uint64_t seed)
{
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	madvise(memory, length, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < length; at += PAGE) {
		fill((uint64_t *)(memory + at), &seed);
		__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int processes = atoi(argv[2]), file = open(argv[3], O_RDWR | O_CREAT, 0600), status, failed = 0;
	size_t each = (strtoul(argv[1], NULL, 10) << 20) / processes / PAGE * PAGE;
	if (file < 0 || ftruncate(file, PAGE))
		fail(argv[3]);
	uint64_t *counter = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (counter == MAP_FAILED)
		fail("mmap");
	for (int n = 0; n < processes; n++)
		if (fork() == 0)
			return dirty(each, counter, 88172645463325252ull + n);
	while (wait(&status) > 0)
		failed |= status;
	counter[1] = failed ? 2 : 1;
	return failed != 0;
}
