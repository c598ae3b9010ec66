/* Warm-up schedules: the built-in ones by name, those of the file, and which one a key names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/config/settings_private.h"

/* SendGrid's published beginning: 20 an hour; growth by 1.4 a day; then no cap. */
static const double start_default = 480, factor_default = 1.4, full_default = 1000000;

static const char *const forms = "none, stages, geometric, \"geometric 1.4\" or a name of warmups";

static struct warmup_schedule *add(const struct settings_load *l, const char *name, const uint64_t *caps,
                                   int n)
{
    struct warmup_schedule *s = arena_alloc(settings_arena(l), sizeof(*s));
    uint64_t *own = arena_alloc(settings_arena(l), sizeof(*own) * (size_t)(n + 1));
    if (n)
        memcpy(own, caps, sizeof(*own) * (size_t)n);
    *s = (struct warmup_schedule){
        .name = name, .caps = own, .n_caps = n, .hourly_percent = WARMUP_HOURLY_PERCENT};
    return s;
}

static bool parse_factor(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*out) && *out >= 1.05 && *out <= 10;
}

static bool is_built_in(const char *name)
{
    return strcmp(name, "none") == 0 || strcmp(name, "stages") == 0 ||
           strncmp(name, "geometric", strlen("geometric")) == 0;
}

static const struct warmup_schedule *built_in(const struct settings_load *l, const char *name)
{
    double factor = factor_default;
    uint64_t caps[WARMUP_STAGES_MOST];
    if (strcmp(name, "none") == 0)
        return add(l, "none", NULL, 0);
    if (strcmp(name, "stages") == 0)
        return warmup_stages();
    const char *rest = name + strlen("geometric");
    if (*rest && (*rest != ' ' || !parse_factor(rest + 1, &factor)))
        return NULL;
    char *own = arena_alloc(settings_arena(l), 40);
    snprintf(own, 40, "geometric %g", factor);
    int n = warmup_geometric(start_default, factor, full_default, caps);
    struct warmup_schedule *s = add(l, own, caps, n);
    s->quick = !*rest;
    return s;
}

const struct warmup_schedule *settings_warmup(const struct settings_load *l, const struct conf_node *place,
                                              const char *name)
{
    if (!name)
        return NULL;
    if (is_built_in(name)) {
        const struct warmup_schedule *s = built_in(l, name);
        if (!s)
            conf_error(l->errors, place, "warmup: found \"%s\", expected %s, with a factor from 1.05 to 10",
                       name, forms);
        return s;
    }
    for (int i = 0; i < l->file->n_warmups; i++)
        if (l->file->warmups[i].schedule && strcmp(l->file->warmups[i].name, name) == 0)
            return l->file->warmups[i].schedule;
    conf_error(l->errors, place, "warmup: found \"%s\", expected %s", name, forms);
    return NULL;
}

/* ---- the file's own ---- */

static int read_steps(const struct settings_load *l, const struct conf_node *row,
                      const struct raw_warmup *raw, uint64_t caps[WARMUP_STAGES_MOST])
{
    const struct conf_node *list = conf_get(row, "steps");
    for (int i = 0; i < raw->n_steps; i++) {
        if (!span_u64(span_str(raw->steps[i]), &caps[i]) || caps[i] == 0 || caps[i] > UINT32_MAX)
            conf_error(l->errors, conf_at(list, i),
                       "steps: found \"%s\", expected messages a day, at least 1", raw->steps[i]);
        else if (i && caps[i] <= caps[i - 1])
            conf_error(l->errors, conf_at(list, i), "steps: found %s, expected more than the step before",
                       raw->steps[i]);
    }
    return raw->n_steps;
}

static int make_steps(const struct settings_load *l, const struct conf_node *row,
                      const struct raw_warmup *raw, uint64_t caps[WARMUP_STAGES_MOST])
{
    double factor = factor_default;
    if (raw->factor && !parse_factor(raw->factor, &factor)) {
        conf_error(l->errors, conf_get(row, "factor"), "factor: found \"%s\", expected 1.05 to 10",
                   raw->factor);
        return 0;
    }
    int n = warmup_geometric((double)raw->start, factor, (double)raw->full, caps);
    if (caps[n - 1] < raw->full)
        conf_error(l->errors, row, "found more than %d stages up to full, expected a larger start or factor",
                   WARMUP_STAGES_MOST);
    return n;
}

static void take_one(const struct settings_load *l, const struct conf_node *row, struct raw_warmup *raw)
{
    uint64_t caps[WARMUP_STAGES_MOST];
    if (!raw->name)
        return;
    if (is_built_in(raw->name)) {
        conf_error(l->errors, conf_place(row, "name"),
                   "found the name of a built-in schedule, \"%s\"; expected another", raw->name);
        return;
    }
    if (raw->n_steps && (conf_get(row, "start") || conf_get(row, "factor") || conf_get(row, "full")))
        conf_error(l->errors, row, "found steps and start, factor or full; expected one or the other");
    int n = raw->n_steps ? read_steps(l, row, raw, caps) : make_steps(l, row, raw, caps);
    struct warmup_schedule *s = add(l, raw->name, caps, n);
    s->quick = raw->quick;
    s->hourly_percent = raw->hourly;
    raw->schedule = s;
}

void settings_take_warmups(const struct settings_load *l)
{
    struct settings_file *f = l->file;
    struct map names = MAP_INIT;
    settings_index_names(l, "warmups", "name", &names);
    map_fini(&names);
    const struct conf_node *rows = conf_get(l->root, "warmups");
    const struct conf_entry *row = rows ? rows->entries : NULL;
    for (int i = 0; row && i < f->n_warmups; i++, row = row->next)
        take_one(l, row->value, &f->warmups[i]);
}
