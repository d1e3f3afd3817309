/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps of one family. bcc creates each with BTF and pins it at first load; every later program, also of
 * the next version, takes the pinned one: that is how sock and tc share state and how a restart keeps it.
 * Sizes come from the configuration (config.h).
 */
#ifndef LB_MAPS_H
#define LB_MAPS_H

/* Written by Python, read here. */
BPF_TABLE_PINNED("hash", struct lb_frontend_key, struct lb_frontend, frontends, LB_MAX_FRONTENDS,
		 LB_PIN_DIR "/frontends", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("array", u32, struct lb_slot_line, slots, LB_MAX_SLOT_LINES, LB_PIN_DIR "/slots",
		 BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", u32, struct lb_backend, backends, LB_MAX_BACKENDS, LB_PIN_DIR "/backends");
BPF_TABLE_PINNED("hash", struct lb_member_key, struct lb_member, members, LB_MAX_MEMBERS,
		 LB_PIN_DIR "/members", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("hash", addr_t, struct lb_node_addr, node_addrs, LB_MAX_NODE_ADDRS, LB_PIN_DIR "/node_addrs",
		 BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("hash", u32, struct lb_device, devices, LB_MAX_DEVICES, LB_PIN_DIR "/devices",
		 BPF_F_NO_PREALLOC);

BPF_TABLE_PINNED("hash", struct lb_local_backend_key, u32, local_backends, LB_MAX_LOCAL_BACKENDS,
		 LB_PIN_DIR "/local_backends", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lpm_trie", struct lb_source_range_key, u32, source_ranges, LB_MAX_SOURCE_RANGES,
		 LB_PIN_DIR "/source_ranges", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lpm_trie", struct lb_service_cidr_key, u32, service_cidrs, LB_MAX_SERVICE_CIDRS,
		 LB_PIN_DIR "/service_cidrs", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("array", u32, struct lb_config, config, 1, LB_PIN_DIR "/config");
BPF_TABLE_PINNED("hash", u64, u32, opt_outs, LB_MAX_OPT_OUTS, LB_PIN_DIR "/opt_outs", BPF_F_NO_PREALLOC);

/* Written and read by Python only: names for people and for the restoration of ids. */
BPF_TABLE_PINNED("hash", u32, struct lb_service, services, LB_MAX_SERVICES, LB_PIN_DIR "/services",
		 BPF_F_NO_PREALLOC);

/*
 * Written here. `flows` has the confirmed flows and is a plain hash: no live one is ever evicted. `pending`
 * has those that nobody has answered yet: a flood of forged senders evicts but its own kind there.
 */
BPF_TABLE_PINNED("hash", struct lb_tuple, struct lb_flow, flows, LB_MAX_FLOWS, LB_PIN_DIR "/flows",
		 BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lru_hash", struct lb_tuple, struct lb_flow, pending, LB_MAX_PENDING, LB_PIN_DIR "/pending");
BPF_TABLE_PINNED("lru_hash", struct lb_datagram_key, struct lb_datagram, datagrams, LB_MAX_DATAGRAMS,
		 LB_PIN_DIR "/datagrams");
BPF_TABLE_PINNED("lru_hash", struct lb_held_key, struct lb_held_fragment, held_fragments,
		 LB_MAX_HELD_FRAGMENTS, LB_PIN_DIR "/held_fragments");
BPF_TABLE_PINNED("percpu_array", u32, struct lb_held_fragment, scratch, 1, LB_PIN_DIR "/scratch");
BPF_TABLE_PINNED("lru_hash", struct lb_affinity_key, struct lb_affinity, affinity, LB_MAX_AFFINITY,
		 LB_PIN_DIR "/affinity");
#define LB_SOCK_PAIRS                                                                                        \
	(LB_MAX_SOCKETS / 4) /* sockets that have their row, if their cookies follow each other */
BPF_TABLE_PINNED("lru_hash", struct lb_sock_key, struct lb_sock_origin, sock_origins, LB_MAX_SOCKETS,
		 LB_PIN_DIR "/sock_origins");
BPF_TABLE_PINNED("lru_hash", struct lb_sock_key, struct lb_sock_choice, sock_choices, LB_MAX_SOCKETS,
		 LB_PIN_DIR "/sock_choices");
BPF_TABLE_PINNED("array", u32, struct lb_sock_pair, sock_pairs, LB_SOCK_PAIRS, LB_PIN_DIR "/sock_pairs");
BPF_TABLE_PINNED("array", u32, u64, marks, LB_MARK_WORDS, LB_PIN_DIR "/marks", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", u32, struct lb_changes, changes, 1, LB_PIN_DIR "/changes", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("percpu_array", u32, u64, counters, LB_COUNTER_MAX, LB_PIN_DIR "/counters");

#endif
