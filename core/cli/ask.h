/* A question at the terminal. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include <stdbool.h>

bool ask_possible(void); /* somebody is there who can be asked */
bool ask_answer(void);   /* after print_question: whether the answer is yes; a signal counts as no */

#endif
