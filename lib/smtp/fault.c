/* The one table of faults in commands and the replies they get. Who says them, and what else follows from a
 * fault (counting errors, closing), is the server's business. */
#include "lib/smtp/fault.h"

#include "lib/base/err.h"

static const struct smtp_fault_reply replies[SMTP_FAULT_COUNT] = {
    [SMTP_FAULT_SYNTAX] = {501, {5, 5, 4}, "Syntax error in arguments"},
    [SMTP_FAULT_NO_ARGUMENT] = {501, {5, 5, 4}, "This command takes no argument"},
    [SMTP_FAULT_HELO_NAME] = {501, {5, 5, 4}, "Host name missing or malformed"},
    [SMTP_FAULT_SENDER] = {501, {5, 1, 7}, "Malformed sender address"},
    [SMTP_FAULT_RECIPIENT] = {501, {5, 1, 3}, "Malformed recipient address"},
    [SMTP_FAULT_SENDER_UTF8] = {550, {5, 6, 7}, "Sender address needs SMTPUTF8"},
    [SMTP_FAULT_RECIPIENT_UTF8] = {553, {5, 6, 7}, "Recipient address needs SMTPUTF8"},
    [SMTP_FAULT_PARAM_UNKNOWN] = {555, {5, 5, 4}, "Parameter not recognized or not supported"},
    [SMTP_FAULT_PARAM_DUPLICATE] = {501, {5, 5, 4}, "Parameter given twice"},
    [SMTP_FAULT_PARAM_SYNTAX] = {501, {5, 5, 4}, "Malformed parameter value"},
    [SMTP_FAULT_BDAT] = {501, {5, 5, 4}, "BDAT takes a size and optionally LAST"},
};

const struct smtp_fault_reply *smtp_fault_reply(enum smtp_fault fault)
{
    ENSURE(fault > SMTP_FAULT_NONE && fault < SMTP_FAULT_COUNT);
    return &replies[fault];
}
