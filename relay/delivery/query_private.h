/* What the files that answer the admin listener share. */
#ifndef REMUDA_RELAY_DELIVERY_QUERY_PRIVATE_H
#define REMUDA_RELAY_DELIVERY_QUERY_PRIVATE_H

struct admin_query;
struct delivery;
struct owner;

/* The owner of a partition on this shard; NULL. */
struct owner *query_owner(struct delivery *d, int partition);
/* ADMIN_QUERY_PAIRS, and those that change one pair. */
void query_pairs(struct delivery *d, struct admin_query *q);
void query_change_pair(struct delivery *d, struct admin_query *q);
/* ADMIN_QUERY_WAITS */
void query_waits(struct delivery *d, struct admin_query *q);

/* ADMIN_QUERY_TENANTS, and those that change what holds for one. */
void query_tenants(struct delivery *d, struct admin_query *q);
void query_change_tenant(struct delivery *d, struct admin_query *q);

#endif
