#!/bin/busybox sh
# The first process of a guest: lays a throw-away layer over the machine's files, and starts $REPOSITORY's guest.py.
# Nothing that the guest writes reaches the machine.
/bin/busybox --install -s /bin
mount -t devtmpfs devices /dev
exec </dev/console >/dev/console 2>&1
set -e
while read -r module; do insmod "/modules/$module"; done </modules/order

share='ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose'
mount -t 9p -o "$share" machine /machine
mount -t tmpfs fresh /fresh
mkdir /fresh/upper /fresh/work /fresh/tree /fresh/tree-work
mount -t overlay -o lowerdir=/machine,upperdir=/fresh/upper,workdir=/fresh/work root /root

# The tree as it was when the run began, with the machine's .venv: files that change under 9p come out torn.
mount -t 9p -o "$share" tree /tree
mount --bind "/root$REPOSITORY/.venv" /venv
mount -t overlay -o lowerdir=/tree,upperdir=/fresh/tree,workdir=/fresh/tree-work tree "/root$REPOSITORY"
mount --move /venv "/root$REPOSITORY/.venv"

mkdir -p /root/lib/modules
mount -t 9p -o "$share" modules /root/lib/modules
mount --move /dev /root/dev
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t bpf bpf /root/sys/fs/bpf
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t tmpfs tmpfs /root/run
mkdir /root/dev/shm
mount -t tmpfs tmpfs /root/dev/shm
ifconfig lo 127.0.0.1 up

export HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
exec switch_root /root /bin/sh -c 'ulimit -n 65536; modprobe -q tun; cd "$REPOSITORY" && .venv/bin/python -m tests.kernels.guest </dev/null; echo o >/proc/sysrq-trigger; sleep 60'
