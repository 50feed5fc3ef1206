"""The kernel lab: stock Debian kernels under qemu, swap on NBD and other stacks, and whether the machine lives (`make lab-kernel`).

experiment.py   one YAML file is one experiment: settings, load, limits, repeats; `vary` makes it a grid
packages.py     kernel, busybox and qemu through apt
modules.py      a driver rebuilt with the words changed that patches.yaml describes
image.py        guest programs and drivers into an initramfs, without root
host.py         how busy the host was meanwhile
runner.py       one guest at a time, one JSON line a run, resumable
console.py      what a console says: verdict, refusals, who waits
guest/          the programs and the one script of the guest
"""
