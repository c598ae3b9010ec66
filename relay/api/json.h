/*
 * Stored records as JSON (jansson): events, waiting rows, dead records. The names of the fields are those of
 * proto/remuda.proto; empty fields are left out. Receivers' answers are octets of any kind, so text that is
 * not UTF-8 is made so without loss: each byte that is not becomes the four characters \xNN.
 */
#ifndef REMUDA_RELAY_API_JSON_H
#define REMUDA_RELAY_API_JSON_H

#include <jansson.h>

#include "lib/base/buf.h"
#include "lib/base/span.h"
#include "remuda.pb-c.h"

/* A JSON string of any octets; never NULL. Zero bytes count as octets. */
json_t *json_text(struct span bytes);
/* object[key] = text, left out when it is empty. */
void json_set_text(json_t *object, const char *key, const char *text);
void json_set_span(json_t *object, const char *key, struct span text);
/* object[key] = n, left out when it is 0. */
void json_set_num(json_t *object, const char *key, uint64_t n);
/* object[key] = true, left out when false. */
void json_set_true(json_t *object, const char *key, bool b);
/* object[key] = the 26 characters of an id; left out when it is not 16 bytes. */
void json_set_id(json_t *object, const char *key, ProtobufCBinaryData id);

/* Constant words: "delivered", "late-bounce"; "deferred", "in-hand"; "pending", "delivered". Never NULL. */
const char *json_event_type(Remuda__EventType type);
const char *json_row_state(Remuda__RowState state);
const char *json_recipient_state(Remuda__RecipientState state);

/* What an event says of one of its recipients, in one of those words: "delivered", "deferred", "late-bounce".
 */
const char *json_outcome_word(const Remuda__Event *e, const Remuda__RecipientOutcome *o);

/* New references. */
json_t *json_event(const Remuda__Event *e);
json_t *json_row(const Remuda__BacklogRow *r);

/* Appends the compact text of v (one line, no newline) to out and drops the reference. */
void json_dump_to(struct buf *out, json_t *v);

/* "decided" of an event, and a row of `remuda quarantine list`. */
json_t *json_tenant_decision(const Remuda__TenantDecision *d);

#endif
