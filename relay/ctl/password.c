/* hash-password: a yescrypt hash for a tenant's user. The password never stands on a command line. */
#include <crypt.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "relay/ctl/ctl.h"

enum { PASSWORD_MOST = 512 };

static bool read_line(FILE *in, char out[PASSWORD_MOST])
{
    if (!fgets(out, PASSWORD_MOST, in))
        return false;
    size_t n = strcspn(out, "\r\n");
    bool whole = out[n] != '\0' || feof(in);
    out[n] = '\0';
    return whole && n > 0;
}

/* Asks twice without an echo. */
static bool read_terminal(struct ctl_call *call, char out[PASSWORD_MOST])
{
    struct termios normal, silent;
    char again[PASSWORD_MOST] = "";
    if (tcgetattr(STDIN_FILENO, &normal) != 0)
        return false;
    silent = normal;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fputs("password: ", call->err);
    bool ok = read_line(stdin, out);
    fputs("\nonce more: ", call->err);
    ok = ok && read_line(stdin, again);
    fputc('\n', call->err);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &normal);
    ok = ok && strcmp(out, again) == 0;
    explicit_bzero(again, sizeof(again));
    return ok;
}

static int print_hash(struct ctl_call *call, const char *password)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = calloc(1, sizeof(*data));
    ENSURE(data != NULL);
    const char *hash = NULL;
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
        hash = crypt_rn(password, setting, data, sizeof(*data));
    if (hash)
        fprintf(call->out, "%s\n", hash);
    else
        fputs("remuda: the system cannot make yescrypt hashes\n", call->err);
    explicit_bzero(data, sizeof(*data));
    free(data);
    return hash ? CTL_OK : CTL_FAILED;
}

int ctl_hash_password(struct ctl_call *call)
{
    char password[PASSWORD_MOST] = "";
    bool ok = isatty(STDIN_FILENO) ? read_terminal(call, password) : read_line(stdin, password);
    int rc = CTL_USAGE;
    if (ok)
        rc = print_hash(call, password);
    else
        fputs("remuda: no password, an overlong one, or the two differ\n", call->err);
    explicit_bzero(password, sizeof(password));
    return rc;
}
