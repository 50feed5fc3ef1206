/* loop-attach FILE DIRECT: /dev/loop0 on FILE; DIRECT 1: past its page cache (LO_FLAGS_DIRECT_IO). */
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int direct = atoi(argv[2]), file = open(argv[1], O_RDWR), device = open("/dev/loop0", O_RDWR);
	struct loop_config config = {.fd = file, .block_size = 4096};
	if (direct)
		config.info.lo_flags = LO_FLAGS_DIRECT_IO;
	if (file < 0 || device < 0 || ioctl(device, LOOP_CONFIGURE, &config)) {
		perror("loop");
		return 1;
	}
	struct loop_info64 info;
	if (ioctl(device, LOOP_GET_STATUS64, &info))
		return 1;
	printf("LAB loop direct=%d ;\n", !!(info.lo_flags & LO_FLAGS_DIRECT_IO));
	return direct != !!(info.lo_flags & LO_FLAGS_DIRECT_IO);
}
