/* The tables of keys as Markdown: what a person reads about the configuration is what the loader does. */
#include <inttypes.h>

#include "lib/conf/conf.h"

static const char *const type_words[] = {
    [CONF_STRING] = "text",
    [CONF_NAME] = "name",
    [CONF_DOMAIN] = "domain",
    [CONF_PATH] = "path",
    [CONF_IP] = "IP address",
    [CONF_ENDPOINT] = "address:port",
    [CONF_WORD] = "word",
    [CONF_ENUM] = "word",
    [CONF_BOOL] = "true or false",
    [CONF_INT] = "number",
    [CONF_DURATION] = "duration",
    [CONF_SIZE] = "size",
    [CONF_RATE] = "rate",
    [CONF_STRINGS] = "list of text",
    [CONF_DOMAINS] = "list of domains",
    [CONF_ENDPOINTS] = "list of address:port",
    [CONF_WORDS] = "list of words",
    [CONF_DURATIONS] = "list of durations",
    [CONF_NETWORKS] = "list of networks",
    [CONF_SECTION] = "map",
    [CONF_SECTIONS] = "list of maps",
    [CONF_NODE] = "see below",
};

static void add_amount(const struct conf_key *k, uint64_t v, struct buf *out)
{
    static const struct {
        uint64_t factor;
        const char *unit;
    } times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {
          {1ull << 40, "TiB"}, {1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}, {1, "B"}};
    if (v == 0 || (k->type != CONF_DURATION && k->type != CONF_SIZE)) {
        buf_printf(out, "%" PRIu64, v);
        return;
    }
    for (int i = 0; i < 5; i++) {
        uint64_t factor = k->type == CONF_SIZE ? sizes[i].factor : times[i].factor;
        if (v % factor)
            continue;
        buf_printf(out, "%" PRIu64 "%s", v / factor, k->type == CONF_SIZE ? sizes[i].unit : times[i].unit);
        return;
    }
}

static void add_type(const struct conf_key *k, struct buf *out)
{
    buf_add_str(out, type_words[k->type]);
    for (int i = 0; k->words && k->words[i]; i++)
        buf_printf(out, "%s`%s`", i ? ", " : ": ", k->words[i]);
    if (k->max) {
        buf_add_str(out, ", ");
        add_amount(k, k->min, out);
        buf_add_str(out, " to ");
        add_amount(k, k->max, out);
    } else if (k->min) {
        buf_add_str(out, ", at least ");
        add_amount(k, k->min, out);
    }
}

static void add_row(const struct conf_key *k, struct buf *out)
{
    buf_printf(out, "| `%s` | ", k->name);
    add_type(k, out);
    if (k->required)
        buf_add_str(out, " | required");
    else if (k->initial)
        buf_printf(out, " | `%s`", k->initial);
    else
        buf_add_str(out, " | ");
    buf_printf(out, " | %s |\n", k->help);
}

void conf_document(const struct conf_section *section, struct buf *out)
{
    buf_printf(out, "## %s\n\n%s\n\n", section->title, section->help);
    buf_add_str(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < section->n_keys; i++)
        add_row(&section->keys[i], out);
    buf_add_char(out, '\n');
    for (int i = 0; i < section->n_keys; i++)
        if (section->keys[i].section)
            conf_document(section->keys[i].section, out);
}
