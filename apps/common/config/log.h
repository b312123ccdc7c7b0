#pragma once
// What is printed, kept in a file as well.

#include <string>

namespace sked {

/// From here on the lines that stdio writes to stdout and stderr go to the end of `file`, too, without bars: of a line
/// that is redrawn what stands there at its end. `results` false: stderr's alone. Throws Error where it cannot be
/// opened.
void log_to(const std::string& file, bool results = true);

/// No more. Returns what the file did not take, and why; empty where it has all lines, or there is none.
std::string end_log();

}  // namespace sked
