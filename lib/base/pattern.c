/* The wrapper of PCRE2. */
#include "lib/base/pattern.h"

#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { GROUPS_MOST = 8, EFFORT_MOST = 100000 };

struct pattern {
    pcre2_code *code;
    uint32_t least;
    bool jit;
};

struct pattern_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
};

int pattern_new(struct span text, struct pattern **out, char *why, size_t room)
{
    int err;
    size_t at;
    *out = NULL;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)(text.len ? text.ptr : ""), text.len, PCRE2_CASELESS, &err, &at, NULL);
    if (!code) {
        char words[120] = "";
        pcre2_get_error_message(err, (PCRE2_UCHAR *)words, sizeof(words));
        snprintf(why, room, "%s at octet %zu", words, at);
        return RM_EINVAL;
    }
    struct pattern *p = calloc(1, sizeof(*p));
    ENSURE(p);
    p->code = code;
    p->jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0; /* refused: pcre2_match interprets */
    (void)pcre2_pattern_info(code, PCRE2_INFO_MINLENGTH, &p->least);
    *out = p;
    return RM_OK;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p);
}

size_t pattern_least(const struct pattern *p)
{
    return p->least;
}

struct pattern_scratch *pattern_scratch_new(void)
{
    struct pattern_scratch *s = calloc(1, sizeof(*s));
    ENSURE(s);
    s->data = pcre2_match_data_create(GROUPS_MOST, NULL);
    s->context = pcre2_match_context_create(NULL);
    ENSURE(s->data && s->context);
    pcre2_set_match_limit(s->context, EFFORT_MOST);
    return s;
}

void pattern_scratch_free(struct pattern_scratch *s)
{
    if (!s)
        return;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    free(s);
}

bool pattern_match(const struct pattern *p, struct pattern_scratch *s, struct span subject)
{
    PCRE2_SPTR text = (PCRE2_SPTR)(subject.len ? subject.ptr : "");
    int n = p->jit ? pcre2_jit_match(p->code, text, subject.len, 0, 0, s->data, s->context)
                   : pcre2_match(p->code, text, subject.len, 0, 0, s->data, s->context);
    return n >= 0;
}

struct span pattern_group(const struct pattern *p, const struct pattern_scratch *s, const char *name,
                          struct span subject)
{
    int group = pcre2_substring_number_from_name(p->code, (PCRE2_SPTR)name);
    const size_t *at = pcre2_get_ovector_pointer(s->data);
    if (group <= 0 || group >= GROUPS_MOST || at[2 * group] == PCRE2_UNSET)
        return span_of(subject.ptr, 0);
    return span_of(subject.ptr + at[2 * group], at[2 * group + 1] - at[2 * group]);
}
