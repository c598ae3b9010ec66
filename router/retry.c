/* When to try again: a schedule with jitter, and what a reply's own words ask for. */
#include "router/retry.h"

#include <ctype.h>

enum { MINUTE = 60000, HOUR = 3600000, ASKED_MOST = 24 * HOUR };

const struct retry_schedule *retry_default(void)
{
    static const uint64_t steps[] = {5ull * MINUTE,  10ull * MINUTE, 20ull * MINUTE,
                                     40ull * MINUTE, 80ull * MINUTE, 2ull * HOUR};
    static const struct retry_schedule schedule = {
        .name = "default",
        .steps_ms = steps,
        .n_steps = sizeof(steps) / sizeof(steps[0]),
        .jitter_percent = 10,
        .lifetime_ms = 72ull * HOUR,
        .delay_notice_ms = 4ull * HOUR,
    };
    return &schedule;
}

uint64_t retry_wait_ms(const struct retry_schedule *s, uint32_t attempts, uint64_t asked_ms, uint32_t random)
{
    uint32_t step = attempts ? attempts - 1 : 0;
    if (step >= (uint32_t)s->n_steps)
        step = (uint32_t)s->n_steps - 1;
    uint64_t wait = s->steps_ms[step];
    uint64_t swing = wait / 100 * s->jitter_percent + wait % 100 * s->jitter_percent / 100;
    uint64_t drawn = (uint64_t)(((unsigned __int128)(2 * swing + 1) * random) >> 32);
    wait = wait - swing + drawn;
    if (asked_ms > ASKED_MOST)
        asked_ms = ASKED_MOST;
    return asked_ms > wait ? asked_ms : wait;
}

uint32_t retry_attempts_by(const struct retry_schedule *s, uint64_t age_ms)
{
    uint32_t n = 1; /* further ones than the steps wait as long as the last: no need to count them */
    uint64_t passed = s->steps_ms[0];
    while (n < (uint32_t)s->n_steps && passed <= age_ms)
        passed += s->steps_ms[n++];
    return n;
}

/* The unit of a word, in ms; 0 for none. */
static uint64_t unit_ms(struct span word)
{
    static const struct {
        const char *prefix;
        uint64_t ms;
    } units[] = {{"sec", 1000}, {"min", MINUTE}, {"hour", HOUR}, {"hr", HOUR}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (span_istarts(word, span_str(units[i].prefix)))
            return units[i].ms;
    if (span_ieq(word, SPAN_LIT("s")))
        return 1000;
    return span_ieq(word, SPAN_LIT("m")) ? MINUTE : span_ieq(word, SPAN_LIT("h")) ? HOUR : 0;
}

static size_t digits(struct span s, uint64_t *out)
{
    size_t n = 0;
    while (n < s.len && n < 9 && isdigit((unsigned char)s.ptr[n]))
        n++;
    if (!span_u64(span_of(s.ptr, n), out))
        return 0;
    return n;
}

static struct span skip(struct span s, size_t n)
{
    return span_of(s.ptr + n, s.len - n);
}

/* "00:04:59" or "04:59" (minutes and seconds); the length read, 0 for none. */
static size_t clock_time(struct span s, uint64_t *ms)
{
    uint64_t part, total = 0;
    struct span rest = s;
    int parts = 0;
    for (;;) {
        size_t n = digits(rest, &part);
        if (n == 0 || n > 3)
            return 0;
        rest = skip(rest, n);
        total = total * 60 + part;
        if (++parts == 3 || rest.len < 2 || rest.ptr[0] != ':')
            break;
        rest = skip(rest, 1);
    }
    *ms = total * 1000;
    return parts >= 2 ? s.len - rest.len : 0;
}

/* "5 minutes", "300 s", "1 hour and 5 minutes" counts its first part only; the length read, 0 for none. */
static size_t amount(struct span s, uint64_t *ms)
{
    uint64_t number;
    size_t n = clock_time(s, ms);
    if (n)
        return n;
    n = digits(s, &number);
    if (n == 0)
        return 0;
    while (n < s.len && (s.ptr[n] == ' ' || s.ptr[n] == '-'))
        n++;
    size_t end = n;
    while (end < s.len && isalpha((unsigned char)s.ptr[end]))
        end++;
    uint64_t unit = unit_ms(span_of(s.ptr + n, end - n));
    *ms = number * unit;
    return unit ? end : 0;
}

static bool has_word(struct span s, const char *word)
{
    struct span w = span_str(word);
    for (size_t i = 0; i + w.len <= s.len; i++)
        if (span_ieq(span_of(s.ptr + i, w.len), w))
            return true;
    return false;
}

/* The reply speaks of coming back later, so that a number with a unit is a wait. */
static bool asks_for_wait(struct span text)
{
    static const char *const words[] = {"try again", "retry", "greylist", "graylist",
                                        "come back", "wait",  "resend"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (has_word(text, words[i]))
            return true;
    return false;
}

/* What stands before a number must lead to it as a wait: "in 5 min", "for 300 seconds", "after ...". */
static bool leads_to_wait(struct span before)
{
    static const char *const leads[] = {" in",   " for",  "after",   "wait",    "least", "about", "within",
                                        "retry", "again", "seconds", "minutes", "delay", "time"};
    while (before.len && strchr(" =:(\"'~", before.ptr[before.len - 1]))
        before.len--;
    if (span_ieq(before, SPAN_LIT("in")) || span_ieq(before, SPAN_LIT("for")))
        return true;
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++)
        if (span_iends(before, span_str(leads[i])))
            return true;
    return false;
}

uint64_t retry_asked_ms(struct span text)
{
    uint64_t ms;
    if (!asks_for_wait(text))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        bool starts =
            isdigit((unsigned char)text.ptr[i]) && (i == 0 || !isalnum((unsigned char)text.ptr[i - 1]));
        if (!starts || (i && strchr(".:-", text.ptr[i - 1])) || !leads_to_wait(span_of(text.ptr, i)))
            continue;
        if (amount(skip(text, i), &ms) && ms)
            return ms;
    }
    return 0;
}
