/* Included by bcc's helpers.h, used by none of our programs. */
#pragma once
