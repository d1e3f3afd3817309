/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `ebpflb bench` compares the socket hooks with, on a cgroup of its own: nothing, and one look-up.
 */
#include <linux/bpf.h>

BPF_HASH(connect_hot, u64, u64, 1024);

int connect_empty(struct bpf_sock_addr *ctx)
{
	return 1;
}

/* One look-up of an 8-byte key that is there. */
int connect_hash(struct bpf_sock_addr *ctx)
{
	u64 key = 1;
	u64 *value = connect_hot.lookup(&key);

	if (value)
		return *value & 1; /* it is 1: the verifier wants to see that */
	connect_hot.update(&key, &key);
	return 1;
}
