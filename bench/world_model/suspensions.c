/* Reads the rules of fixed reactions. */
#include "bench/world_model/suspensions.h"

static const char *const action_words[] = {"suspend", "rate", "connections", "rate-and-connections", NULL};

static const struct conf_key rule_keys[] = {
    {"provider", CONF_NAME, CONF_AT(struct suspension, provider)},
    {"text", CONF_STRING, CONF_AT(struct suspension, text), .required = true},
    {"matches", CONF_INT, CONF_AT(struct suspension, matches), .initial = "1", .min = 1, .max = 16},
    {"action", CONF_ENUM, CONF_AT(struct suspension, action), .words = action_words, .required = true},
    {"rate", CONF_RATE, CONF_AT(struct suspension, rate), .initial = "0"},
    {"connections", CONF_INT, CONF_AT(struct suspension, connections), .initial = "0"},
    {"for", CONF_DURATION, CONF_AT(struct suspension, for_ms), .required = true},
};
static const struct conf_section rule_section = {
    "rules[]", "", rule_keys, (int)(sizeof(rule_keys) / sizeof(rule_keys[0])), sizeof(struct suspension)};
static const struct conf_key file_keys[] = {
    {"rules", CONF_SECTIONS, CONF_LIST_AT(struct suspensions, rules, n), .section = &rule_section,
     .required = true, .min = 1, .max = SUSPENSIONS_MOST},
};
static const struct conf_section file_section = {"suspensions.yaml", "", file_keys, 1,
                                                 sizeof(struct suspensions)};

bool suspensions_read(const char *path, struct arena *arena, struct conf_errors *errors,
                      struct suspensions *out)
{
    const struct conf_node *root;
    *out = (struct suspensions){0};
    if (conf_read(path, arena, errors, &root))
        return false;
    conf_fill(&(struct conf_fill){arena, errors}, &file_section, root, out);
    return !errors->count;
}
