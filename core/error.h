#pragma once
// Errors a user can cause are exceptions with one clear line; invariants of the library itself are asserts.

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sked {

/// A failure with one line for the user: `[where] expected (N, D), got (8, 3, 5) f32 on cpu`. Apps exit with 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Wrong usage of a program or configuration (unknown key, missing option). Apps exit with 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// What is asked for belongs to another process now: later it may not.
class BusyError : public Error {
 public:
  using Error::Error;
};

namespace detail {
template <class E, class... Parts>
[[noreturn]] void throw_error(std::string_view where, const Parts&... parts) {
  std::ostringstream text;
  text << '[' << where << "] ";
  (text << ... << parts);
  throw E(text.str());
}
}  // namespace detail

/// Throws Error("[where] " + parts...). Always stream the offending values.
template <class... Parts>
[[noreturn]] void fail(std::string_view where, const Parts&... parts) {
  detail::throw_error<Error>(where, parts...);
}

/// fail() unless `ok`. The parts are only streamed on failure.
template <class... Parts>
void require(bool ok, std::string_view where, const Parts&... parts) {
  if (!ok) [[unlikely]]
    detail::throw_error<Error>(where, parts...);
}

/// The same with UsageError: for what a configuration or a command line asks for.
template <class... Parts>
void require_usage(bool ok, std::string_view where, const Parts&... parts) {
  if (!ok) [[unlikely]]
    detail::throw_error<UsageError>(where, parts...);
}

}  // namespace sked
