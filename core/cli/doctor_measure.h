/* One sandbox that is made, used, measured and ended. */
#ifndef CLI_DOCTOR_MEASURE_H
#define CLI_DOCTOR_MEASURE_H

#include "options.h"
#include "report.h"

void doctor_measure(struct report *report, const struct options *options);

#endif
