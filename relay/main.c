/* The program: its verbs are in relay/ctl, the relay itself behind `remuda run` in relay/run.c. */
#include <signal.h>

#include "relay/ctl/ctl.h"
#include "relay/run.h"

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a peer that hangs up is an error of a write, not of the program */
    return ctl_main(argc, argv, run_command);
}
