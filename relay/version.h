/* The version of the program: one place, checked against CMakeLists.txt by a test. */
#ifndef REMUDA_RELAY_VERSION_H
#define REMUDA_RELAY_VERSION_H

#define REMUDA_VERSION "0.1.0"

#endif
