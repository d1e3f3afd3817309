/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which backend answers a new flow: the client's remembered one if the Service has affinity and the backend
 * is still in the set that the policy allows, else one of the range, by random number or by the client's
 * hash. Knows nothing of sockets or packets: the caller says who the client is.
 */
#ifndef LB_BACKEND_H
#define LB_BACKEND_H

#include "lb/base.h"

/* Who asks, as far as the choice depends on it. */
struct lb_client {
	struct lb_affinity_key affinity; /* service_id is filled in here */
	u32 hash;			 /* picks the slot when the frontend's algorithm is Maglev */
	bool local_only;		 /* the policy allows backends of this node only */
};

struct lb_choice {
	u32 backend_id;
	struct lb_backend *backend; /* NULL: none. Points into the map */
};

/* A generation guards against ids that went to another backend since `id` was noted. */
static __always_inline struct lb_backend *lb_backend_lookup(u32 id, u32 generation)
{
	struct lb_backend *backend = backends.lookup(&id);

	if (!backend || backend->state == LB_BACKEND_NONE || backend->generation != generation)
		return NULL;
	return backend;
}

static __always_inline bool lb_backend_is_member(u32 service_id, u32 backend_id, enum lb_member_set set)
{
	struct lb_member_key key = {.service_id = service_id, .backend_id = backend_id};
	struct lb_member *member = members.lookup(&key);

	return member && (member->sets & set);
}

/* The timeout runs from the last new connection (kube-proxy: refreshed by each). */
static __always_inline struct lb_choice lb_affinity_lookup(const struct lb_frontend *frontend,
							   const struct lb_client *client)
{
	struct lb_choice none = {};
	struct lb_affinity *entry = affinity.lookup((struct lb_affinity_key *)&client->affinity);
	struct lb_choice choice = {};

	if (!entry || lb_age(entry->last_used) >= frontend->affinity_timeout * LB_HZ)
		return none;
	choice.backend_id = entry->backend_id;
	choice.backend = lb_backend_lookup(entry->backend_id, entry->generation);
	if (!choice.backend ||
	    !lb_backend_is_member(frontend->service_id, choice.backend_id,
				  client->local_only ? LB_MEMBER_LOCAL : LB_MEMBER_CLUSTER))
		return none;
	entry->last_used = lb_now();
	lb_count(LB_COUNTER_AFFINITY_HIT);
	return choice;
}

/*
 * A slot is taken at its word: a program that read its frontend just before the range was replaced may meet a
 * backend that has been deleted meanwhile, whose row keeps its address for this moment. Its flow is one that
 * began a microsecond earlier. Only an id that never had a backend is an error.
 */
static __always_inline struct lb_choice lb_slot_lookup(const struct lb_range *range, u32 number)
{
	struct lb_choice choice = {};
	u32 slot = range->offset + number % range->length;
	u32 line_index = slot / 16;
	struct lb_slot_line *line = slots.lookup(&line_index);

	if (!line)
		return choice;
	choice.backend_id = line->backend_id[slot % 16];
	choice.backend = backends.lookup(&choice.backend_id);
	if (choice.backend && !choice.backend->generation)
		choice.backend = NULL;
	return choice;
}

/* `range` is not empty. A NULL backend means that the tables contradict themselves. */
static __always_inline struct lb_choice lb_select(const struct lb_frontend *frontend,
						  const struct lb_range *range, struct lb_client *client,
						  bool random)
{
	struct lb_choice choice = {};

	client->affinity.service_id = frontend->service_id;
	if (frontend->affinity_timeout) {
		choice = lb_affinity_lookup(frontend, client);
		if (choice.backend)
			return choice;
	}
	choice = lb_slot_lookup(range, random ? bpf_get_prandom_u32() : client->hash);
	if (frontend->affinity_timeout && choice.backend) {
		struct lb_affinity entry = {.backend_id = choice.backend_id,
					    .generation = choice.backend->generation,
					    .last_used = lb_now()};

		affinity.update(&client->affinity, &entry);
	}
	return choice;
}

#endif
