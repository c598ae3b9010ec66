/* Date formatting; the clock is the caller's. By arithmetic: gmtime_r takes the C library's time zone lock,
 * and every message asks for a date. */
#include "lib/mail/date.h"

#include <string.h>

enum { SECONDS_PER_DAY = 86400 };

/* n below 100 in two digits. */
static char *put2(char *to, unsigned n)
{
    to[0] = (char)('0' + n / 10);
    to[1] = (char)('0' + n % 10);
    return to + 2;
}

static char *put_text(char *to, const char *text, size_t n)
{
    memcpy(to, text, n);
    return to + n;
}

/* The civil date of a day counted from 1970-01-01, by eras of 400 years that begin in March. */
static void civil(uint64_t day, unsigned *year, unsigned *month, unsigned *of_month)
{
    uint64_t z = day + 719468, era = z / 146097;
    unsigned of_era = (unsigned)(z - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * of_year + 2) / 153; /* 0: March */
    *of_month = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (unsigned)(year_of_era + era * 400) + (*month <= 2 ? 1 : 0);
}

char *mail_date_format(uint64_t wall_ms, char out[MAIL_DATE_BUF])
{
    static const char days[] = "Thu, Fri, Sat, Sun, Mon, Tue, Wed, ";
    static const char months[] = " Jan  Feb  Mar  Apr  May  Jun  Jul  Aug  Sep  Oct  Nov  Dec ";
    const uint64_t latest = UINT64_C(253402300799); /* the last second of the year 9999 */
    uint64_t seconds = wall_ms / 1000 < latest ? wall_ms / 1000 : latest;
    unsigned year, month, of_month, of_day = (unsigned)(seconds % SECONDS_PER_DAY);
    civil(seconds / SECONDS_PER_DAY, &year, &month, &of_month);
    char *p = put_text(out, days + 5 * (seconds / SECONDS_PER_DAY % 7), 5);
    p = put_text(put2(p, of_month), months + (size_t)5 * (month - 1), 5);
    p = put2(put2(p, year / 100), year % 100);
    *p++ = ' ';
    p = put2(p, of_day / 3600);
    *p++ = ':';
    p = put2(p, of_day / 60 % 60);
    *p++ = ':';
    p = put2(p, of_day % 60);
    put_text(p, " +0000", 7);
    return out;
}
