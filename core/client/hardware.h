/* What the Hub's hardware costs. */
#ifndef CLIENT_HARDWARE_H
#define CLIENT_HARDWARE_H

#include <stddef.h>
#include <stdint.h>

#include "hfsandbox/hfsandbox.h"

/* From the answer of /api/jobs/hardware. NULL: it is none, or no memory. */
sbx_hardware_list *hardware_parse(const char *text, size_t len);

/* Millionths of a dollar for a minute of the flavor; -1 = it is not in the list. */
int64_t hardware_cost(const sbx_hardware_list *list, const char *flavor);
int64_t hardware_price(const char *text, size_t len, const char *flavor);

#endif
