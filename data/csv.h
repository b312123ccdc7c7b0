#pragma once
// Tables as spreadsheets and pandas write them (RFC 4180).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sked {

struct CsvRow {
  std::vector<std::string> fields;
  int64_t line = 0;  // where it begins, from 1
};

/// The records of a CSV text: fields between separators, in quotes or not; within quotes "" is a quote, and separators
/// and line ends are part of the field. The separator is the first of comma, semicolon and tab that stands outside
/// quotes in the first record (spreadsheets of many languages write semicolons). Blank lines are none. Throws Error
/// naming `source` and line for a quote that is not closed or stands within an unquoted field, and as file_lines()
/// does.
std::vector<CsvRow> read_csv(std::string_view text, const std::string& source);

}  // namespace sked
