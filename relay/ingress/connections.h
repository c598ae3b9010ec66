/*
 * Connections open now, by tenant and by client, for all shards of the node. Any thread: one short lock.
 * Lives as long as the process, so a reload changes limits but not what is counted.
 */
#ifndef REMUDA_RELAY_INGRESS_CONNECTIONS_H
#define REMUDA_RELAY_INGRESS_CONNECTIONS_H

#include "relay/config/settings.h"

struct connections;

struct connections *connections_new(void);
void connections_free(struct connections *c);

/* Counts a connection of the tenant; false: it has its limits.connections already. */
bool connections_tenant_enter(struct connections *c, const struct settings_tenant *t);
void connections_tenant_leave(struct connections *c, const char *tenant);

/* Counts a connection from an address (16 bytes) to a listener; false: there are most already. most > 0. */
bool connections_client_enter(struct connections *c, const char *listener, const uint8_t ip[16],
                              uint32_t most);
void connections_client_leave(struct connections *c, const char *listener, const uint8_t ip[16]);

#endif
