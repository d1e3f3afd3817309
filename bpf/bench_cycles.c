/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What `ebpflb bench` measures programs with, by BPF_PROG_TEST_RUN: nothing of it is ever attached. A test run
 * does not restore the packet between its repetitions, hence these programs do, and call the one that is
 * measured through `measured`. What they cost themselves is measured with cycles_empty behind them.
 *
 *	cycles_same4, cycles_same6	the same packet every time
 *	cycles_ports4			the next source port every time: a new flow
 *	cycles_flows4			of CYCLES_FLOWS flows a random one
 *
 *	cycles_empty, cycles_hot, cycles_cold	what is measured for comparison: nothing, one look-up
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#define CYCLES_PIN(name) LB_PIN_DIR "/" name

/* IPv6 and TCP, without options. */
struct cycles_template {
	u8 frame[ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr)];
};

struct cycles_state {
	u32 number;
};

/* As long as the key of an IPv4 flow, and its value. */
struct cycles_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	u8 protocol;
	u8 pad[3];
};

struct cycles_value {
	u32 words[8];
};

BPF_TABLE_PINNED("prog", u32, u32, measured, 1, CYCLES_PIN("measured"));
BPF_TABLE_PINNED("array", u32, struct cycles_template, template, 1, CYCLES_PIN("template"));
BPF_TABLE_PINNED("array", u32, struct cycles_state, state, 1, CYCLES_PIN("state"));
BPF_TABLE_PINNED("hash", u64, u64, hot, CYCLES_HOT_ENTRIES, CYCLES_PIN("hot"));
BPF_TABLE_PINNED("hash", struct cycles_key, struct cycles_value, cold, CYCLES_COLD_ENTRIES,
		 CYCLES_PIN("cold"));

#define CYCLES_BYTES4 (ETH_HLEN + sizeof(struct iphdr) + sizeof(struct tcphdr))

/* Puts the template's first bytes back; returns the frame, or NULL when it is shorter than that. */
static __always_inline void *cycles_restore(struct xdp_md *ctx, u32 length)
{
	void *data = (void *)(long)ctx->data;
	u32 zero = 0;
	struct cycles_template *from = template.lookup(&zero);

	if (!from || data + length > (void *)(long)ctx->data_end)
		return NULL;
	__builtin_memcpy(data, from->frame, length);
	return data;
}

static __always_inline int cycles_measure(struct xdp_md *ctx)
{
	measured.call(ctx, 0);
	return XDP_ABORTED;
}

/* RFC 1624, for one 16-bit word. */
static __always_inline void cycles_update(__sum16 *checksum, __be16 from, __be16 to)
{
	u32 sum = (u16) ~*checksum + (u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	*checksum = ~((sum & 0xffff) + (sum >> 16));
}

static __always_inline void cycles_set_port(struct tcphdr *tcp, u32 add)
{
	__be16 port = bpf_htons(bpf_ntohs(tcp->source) + add);

	cycles_update(&tcp->check, tcp->source, port);
	tcp->source = port;
}

int cycles_same4(struct xdp_md *ctx)
{
	return cycles_restore(ctx, CYCLES_BYTES4) ? cycles_measure(ctx) : XDP_ABORTED;
}

int cycles_same6(struct xdp_md *ctx)
{
	return cycles_restore(ctx, sizeof(struct cycles_template)) ? cycles_measure(ctx) : XDP_ABORTED;
}

int cycles_ports4(struct xdp_md *ctx)
{
	void *frame = cycles_restore(ctx, CYCLES_BYTES4);
	u32 zero = 0;
	struct cycles_state *now = state.lookup(&zero);

	if (!frame || !now)
		return XDP_ABORTED;
	cycles_set_port(frame + ETH_HLEN + sizeof(struct iphdr), now->number++);
	return cycles_measure(ctx);
}

/* Knuth's generator (MMIX): its upper bits choose the flow, and the flow's number its address and port. */
int cycles_flows4(struct xdp_md *ctx)
{
	void *frame = cycles_restore(ctx, CYCLES_BYTES4);
	u32 zero = 0;
	struct cycles_state *now = state.lookup(&zero);
	struct iphdr *ip = frame + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	__be16 *low, old;
	u64 flow;

	if (!frame || !now)
		return XDP_ABORTED;
	now->number = now->number * 1664525 + 1013904223;
	flow = ((u64)now->number * CYCLES_FLOWS) >> 32;
	low = (__be16 *)&ip->saddr + 1;
	old = *low;
	*low = bpf_htons(bpf_ntohs(old) + (flow >> CYCLES_PORT_BITS));
	cycles_update(&ip->check, old, *low);
	cycles_update(&tcp->check, old, *low);
	cycles_set_port(tcp, flow & ((1 << CYCLES_PORT_BITS) - 1));
	return cycles_measure(ctx);
}

int cycles_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

int cycles_hot(struct xdp_md *ctx)
{
	u64 key = CYCLES_HOT_KEY;

	return hot.lookup(&key) ? XDP_PASS : XDP_ABORTED;
}

int cycles_cold(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *tcp = (void *)(ip + 1);
	struct cycles_key key = {};
	struct cycles_value *value;

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	key.saddr = ip->saddr;
	key.daddr = ip->daddr;
	key.sport = tcp->source;
	key.dport = tcp->dest;
	key.protocol = ip->protocol;
	value = cold.lookup(&key);
	return value && value->words[0] ? XDP_PASS : XDP_ABORTED;
}
