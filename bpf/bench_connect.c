/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `ebpflb bench` compares the socket hooks with, on a cgroup of its own: nothing, and look-ups.
 */
#include <linux/bpf.h>

BPF_HASH(connect_hot, u64, u64, 1024);

int connect_empty(struct bpf_sock_addr *ctx)
{
	return 1;
}

/* Look-ups of an 8-byte key that is there: CONNECT_LOOK_UPS of them, since one is lost in the noise of a connect(). */
int connect_hash(struct bpf_sock_addr *ctx)
{
	u64 key = 1, sum = 0;
	u64 *value;

#pragma unroll
	for (int i = 0; i < CONNECT_LOOK_UPS; i++) {
		value = connect_hot.lookup(&key);
		if (!value) {
			connect_hot.update(&key, &key);
			return 1;
		}
		sum |= *value;
	}
	return sum & 1; /* the verifier wants to see that it is 0 or 1 */
}
