/* One event out of its JSON. */
#include "relay/simulate/recorded.h"

#include "lib/base/map.h"
#include "relay/ctl/text.h"

static enum recorded_type type_of(const char *word)
{
    static const char *const words[RECORDED_OTHER] = {
        [RECORDED_ACCEPTED] = "accepted",   [RECORDED_DELIVERED] = "delivered",
        [RECORDED_DEFERRED] = "deferred",   [RECORDED_BOUNCED] = "bounced",
        [RECORDED_EXPIRED] = "expired",     [RECORDED_SUPPRESSED] = "suppressed",
        [RECORDED_COMPLAINT] = "complaint", [RECORDED_LATE_BOUNCE] = "late-bounce",
    };
    int type = 0;
    while (type < RECORDED_OTHER && strcmp(words[type], word) != 0)
        type++;
    return (enum recorded_type)type;
}

static struct span member(const json_t *v, const char *key)
{
    const json_t *s = json_object_get(v, key);
    return span_of(json_string_value(s), json_string_length(s));
}

static uint64_t identity(const json_t *submission)
{
    if (!submission)
        return 0;
    uint64_t parts[3] = {text_num(submission, "partition"), text_num(submission, "offset"),
                         text_num(submission, "index")};
    return hash64(parts, sizeof(parts));
}

static struct span domain_of(struct span address)
{
    for (size_t i = address.len; i > 0; i--)
        if (address.ptr[i - 1] == '@')
            return span_of(address.ptr + i, address.len - i);
    return span_of(NULL, 0);
}

static uint64_t took_ms(const json_t *phases)
{
    const char *key;
    json_t *us;
    uint64_t sum = 0;
    if (!phases)
        return 0;
    json_object_foreach((json_t *)(uintptr_t)phases, key, us) sum +=
        json_is_integer(us) && json_integer_value(us) > 0 ? (uint64_t)json_integer_value(us) : 0;
    return (sum + 999) / 1000;
}

bool recorded_read(const json_t *event, struct recorded *out)
{
    *out = (struct recorded){.type = type_of(text_get(event, "type")),
                             .submission = identity(json_object_get(event, "submission")),
                             .time_ms = text_num(event, "time_ms"),
                             .accepted_ms = text_num(event, "accepted_ms"),
                             .final = json_is_true(json_object_get(event, "final")),
                             .attempt = (uint32_t)text_num(event, "attempt"),
                             .tenant = member(event, "tenant"),
                             .sender = domain_of(member(event, "sender")),
                             .domain = member(event, "domain"),
                             .provider = member(event, "provider"),
                             .scope = member(event, "scope"),
                             .source = member(event, "source"),
                             .mx_host = member(event, "mx_host"),
                             .cause = member(event, "cause"),
                             .took_ms = took_ms(json_object_get(event, "phases_us"))};
    const json_t *to = json_object_get(event, "transfer_to"); /* found to be of another provider */
    if (to && text_get(to, "provider")[0])
        out->provider = member(to, "provider");
    const json_t *first = json_array_get(json_object_get(event, "recipients"), 0);
    if (first && !json_is_true(json_object_get(first, "local"))) {
        out->code = (int)text_num(first, "code");
        out->enhanced = member(first, "enhanced");
        out->text = member(first, "text");
    }
    return json_is_object(event) && out->time_ms > 0;
}
