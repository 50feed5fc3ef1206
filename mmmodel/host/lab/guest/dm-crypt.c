/* dm-crypt DEVICE SECTORS [OPTION]: /dev/dm-0 on top of DEVICE, aes-xts-plain64 with a fixed key, by the dm ioctls. */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static char room[16384] __attribute__((aligned(8)));

static struct dm_ioctl *fresh(void)
{
	struct dm_ioctl *header = (void *)room;
	memset(room, 0, sizeof room);
	header->version[0] = DM_VERSION_MAJOR;
	header->data_size = sizeof room;
	header->data_start = sizeof *header;
	strcpy(header->name, "crypt");
	return header;
}

static void tell(int control, unsigned long what, struct dm_ioctl *header, const char *name)
{
	if (ioctl(control, what, header)) {
		perror(name);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int control = open("/dev/mapper/control", O_RDWR);
	if (argc < 3 || control < 0) {
		perror("/dev/mapper/control");
		return 1;
	}
	tell(control, DM_DEV_CREATE, fresh(), "DM_DEV_CREATE");
	struct dm_ioctl *header = fresh();
	struct dm_target_spec *target = (void *)(room + header->data_start);
	char *parameters = (char *)(target + 1);
	header->target_count = 1;
	target->length = strtoull(argv[2], NULL, 10);
	strcpy(target->target_type, "crypt");
	sprintf(parameters, "aes-xts-plain64 %0128d 0 %s 0%s%s", 7, argv[1], argc > 3 ? " 1 " : "", argc > 3 ? argv[3] : "");
	target->next = (sizeof *target + strlen(parameters) + 8) & ~7u;
	tell(control, DM_TABLE_LOAD, header, "DM_TABLE_LOAD");
	tell(control, DM_DEV_SUSPEND, fresh(), "resume");
	return 0;
}
