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
BPF_TABLE_PINNED("hash", addr_t, struct lb_node_addr, node_addrs, LB_MAX_NODE_ADDRS,
		 LB_PIN_DIR "/node_addrs");
BPF_TABLE_PINNED("hash", u32, struct lb_device, devices, LB_MAX_DEVICES, LB_PIN_DIR "/devices");

/* Written and read by Python only: names for people and for the restoration of ids. */
BPF_TABLE_PINNED("hash", u32, struct lb_service, services, LB_MAX_SERVICES, LB_PIN_DIR "/services",
		 BPF_F_NO_PREALLOC);

/* Written here. `flows` is a plain hash: when it is full a new flow is refused and counted, no live one is
 * evicted. */
BPF_TABLE_PINNED("hash", struct lb_tuple, struct lb_flow, flows, LB_MAX_FLOWS, LB_PIN_DIR "/flows",
		 BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lru_hash", struct lb_affinity_key, struct lb_affinity, affinity, LB_MAX_AFFINITY,
		 LB_PIN_DIR "/affinity");
BPF_TABLE_PINNED("lru_hash", struct lb_sock_key, struct lb_sock_origin, sock_origins, LB_MAX_SOCKETS,
		 LB_PIN_DIR "/sock_origins");
BPF_TABLE_PINNED("lru_hash", struct lb_sock_key, struct lb_sock_choice, sock_choices, LB_MAX_SOCKETS,
		 LB_PIN_DIR "/sock_choices");
BPF_TABLE_PINNED("percpu_array", u32, u64, counters, LB_COUNTER_MAX, LB_PIN_DIR "/counters");

#endif
