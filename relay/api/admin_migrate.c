/* The beginning of a move into another log: said in control, upon which every node of this log stops. */
#include <stdio.h>

#include "lib/base/clock.h"
#include "relay/api/admin_private.h"
#include "relay/migration.h"

void admin_migrate(const struct admin_request *q, struct admin_reply *r)
{
    struct admin *a = q->admin;
    const char *to = admin_arg(q, "to");
    struct migration m = {.state = REMUDA__MIGRATION_STATE__MIGRATION_LEAVING};
    if (!to || !to[0] || strlen(to) >= sizeof(m.other)) {
        admin_reply_error(r, MHD_HTTP_BAD_REQUEST, "to: is needed, the other log in words");
        return;
    }
    snprintf(m.other, sizeof(m.other), "%s", to);
    m.id = msgid_make(clock_wall_ms());
    pthread_mutex_lock(&a->lock);
    int err = migration_append(a->client, &m);
    pthread_mutex_unlock(&a->lock);
    if (err != RM_OK)
        admin_reply_error(r, MHD_HTTP_SERVICE_UNAVAILABLE, rm_strerror(err));
    else
        admin_reply_json(r, MHD_HTTP_OK, json_pack("{s:b}", "stopping", 1));
}
