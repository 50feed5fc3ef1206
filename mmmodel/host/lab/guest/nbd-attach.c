/* nbd-attach DEVICE ADDRESS PORT MIB: connects and gives the socket to the kernel; a child stays behind in NBD_DO_IT. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK 4096ul

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	int device = open(argv[1], O_RDWR), server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
	if (device < 0)
		fail(argv[1]);
	if (inet_pton(AF_INET, argv[2], &at.sin_addr) != 1 || connect(server, (void *)&at, sizeof at))
		fail("connect");
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	if (ioctl(device, NBD_SET_BLKSIZE, BLOCK) ||
	    ioctl(device, NBD_SET_SIZE_BLOCKS, (strtoul(argv[4], NULL, 10) << 20) / BLOCK) ||
	    ioctl(device, NBD_SET_SOCK, server) || ioctl(device, NBD_SET_FLAGS, NBD_FLAG_HAS_FLAGS))
		fail("NBD ioctl");
	if (fork() == 0) {
		mlockall(MCL_CURRENT | MCL_FUTURE);
		setsid();
		ioctl(device, NBD_DO_IT);
		return 0;
	}
	return 0;
}
