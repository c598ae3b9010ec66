/* Layout for people. Knows nothing of what it prints. */
#include "relay/ctl/text.h"

#include <stdlib.h>
#include <time.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

const char *text_time(uint64_t ms, char out[TEXT_ROOM])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (ms == 0 || !gmtime_r(&seconds, &tm))
        return strcpy(out, "-");
    size_t n = strftime(out, TEXT_ROOM, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(out + n, TEXT_ROOM - n, ".%03u UTC", (unsigned)(ms % 1000));
    return out;
}

const char *text_age(uint64_t ms, char out[TEXT_ROOM])
{
    unsigned long long s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    if (d > 0)
        snprintf(out, TEXT_ROOM, "%llu d %llu h", d, h % 24);
    else if (h > 0)
        snprintf(out, TEXT_ROOM, "%llu h %llu min", h, m % 60);
    else if (m > 0)
        snprintf(out, TEXT_ROOM, "%llu min %llu s", m, s % 60);
    else if (s >= 10)
        snprintf(out, TEXT_ROOM, "%llu s", s);
    else if (ms >= 1000)
        snprintf(out, TEXT_ROOM, "%.1f s", (double)ms / 1000);
    else
        snprintf(out, TEXT_ROOM, "%llu ms", (unsigned long long)ms);
    return out;
}

const char *text_bytes(uint64_t n, char out[TEXT_ROOM])
{
    static const char *const units[] = {"KB", "MB", "GB", "TB"};
    double size = (double)n / 1024;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    if (n < 1024)
        snprintf(out, TEXT_ROOM, "%llu B", (unsigned long long)n);
    else
        snprintf(out, TEXT_ROOM, "%.1f %s", size, units[unit]);
    return out;
}

bool text_parse_time(const char *text, uint64_t now_ms, uint64_t *out)
{
    static const struct {
        char letter;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    struct span number = span_str(text);
    if (span_u64(number, out))
        return true;
    for (size_t i = 0; number.len > 1 && i < sizeof(units) / sizeof(units[0]); i++) {
        uint64_t n;
        if (text[number.len - 1] != units[i].letter || !span_u64(span_of(text, number.len - 1), &n) ||
            n > now_ms / units[i].ms)
            continue;
        *out = now_ms - n * units[i].ms;
        return true;
    }
    return false;
}

void text_print(FILE *to, const char *text, int indent)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '\n')
            fprintf(to, "\n%*s", indent, "");
        else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
            fprintf(to, "\\x%02x", *++p);
        else if ((*p < 0x20 && *p != '\t') || *p == 0x7f)
            fprintf(to, "\\x%02x", *p);
        else
            fputc(*p, to);
    }
}

const char *text_get(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

uint64_t text_num(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

/* ---- tables ------------------------------------------------------------------------------------------- */

enum { COLUMNS_MOST = 16 };

struct text_table {
    int columns;
    bool right[COLUMNS_MOST];
    size_t width[COLUMNS_MOST];
    char **cells; /* header first */
    size_t n, room;
};

/* Characters, as a terminal counts them: bytes that do not continue a UTF-8 sequence. */
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void text_table_cell(struct text_table *t, const char *text)
{
    if (t->n == t->room) {
        t->room = t->room > 0 ? t->room * 2 : 64;
        t->cells = realloc(t->cells, t->room * sizeof(*t->cells));
        ENSURE(t->cells != NULL);
    }
    char *safe = NULL;
    size_t len;
    FILE *f = open_memstream(&safe, &len);
    ENSURE(f != NULL);
    text_print(f, text, 0);
    fclose(f);
    for (char *p = safe; *p; p++)
        *p = *p == '\n' ? ' ' : *p;
    size_t column = t->n % (size_t)t->columns, width = columns_of(safe);
    if (width > t->width[column])
        t->width[column] = width;
    t->cells[t->n++] = safe;
}

struct text_table *text_table_new(const char *const *header, int n_columns)
{
    ENSURE(n_columns > 0 && n_columns <= COLUMNS_MOST);
    struct text_table *t = calloc(1, sizeof(*t));
    ENSURE(t != NULL);
    t->columns = n_columns;
    for (int i = 0; i < n_columns; i++) {
        t->right[i] = header[i][0] == '>';
        text_table_cell(t, header[i] + t->right[i]);
    }
    return t;
}

void text_table_number(struct text_table *t, uint64_t n)
{
    char text[TEXT_ROOM];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    text_table_cell(t, text);
}

static void cell_print(const struct text_table *t, size_t i, FILE *to)
{
    size_t column = i % (size_t)t->columns;
    bool last = column + 1 == (size_t)t->columns;
    int pad = (int)(t->width[column] - columns_of(t->cells[i]));
    if (t->right[column])
        fprintf(to, "%*s%s", pad, "", t->cells[i]);
    else
        fprintf(to, "%s%*s", t->cells[i], last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", to);
}

void text_table_print(struct text_table *t, FILE *to)
{
    size_t full = t->n - t->n % (size_t)t->columns;
    for (size_t i = 0; i < t->n; i++) {
        if (i < full)
            cell_print(t, i, to);
        free(t->cells[i]);
    }
    free(t->cells);
    free(t);
}
