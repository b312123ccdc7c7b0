#include "data/csv.h"

#include "core/error.h"
#include "core/text.h"

namespace sked {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// Of the first record; a comma where it has one field.
char separator_of(std::string_view text) {
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == ',' || c == ';' || c == '\t')) return c;
    if (!quoted && c == '\n') break;
  }
  return ',';
}

class CsvReader {
 public:
  CsvReader(std::string_view text, const std::string& source)
      : text_(text), source_(source), separator_(separator_of(text)) {}
  std::vector<CsvRow> read();

 private:
  std::string field();
  std::string quoted_field();
  bool at_end_of_field() const { return at_ == text_.size() || text_[at_] == separator_ || at_line_end(); }
  bool at_line_end() const { return text_[at_] == '\n' || text_.substr(at_).starts_with("\r\n"); }

  std::string_view text_;
  const std::string& source_;
  char separator_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

std::string CsvReader::quoted_field() {
  const int64_t begun = line_;
  std::string field;
  for (++at_; at_ < text_.size(); ++at_) {
    if (text_[at_] == '\n') ++line_;
    if (text_[at_] == '"' && !text_.substr(at_).starts_with("\"\"")) {
      ++at_;
      require(at_end_of_field(), "csv", source_, ":", line_, ": expected the end of a field behind its quotes, got \"",
              excerpt(text_.substr(at_, 40)), "\" (a quote within one is written twice)");
      return field;
    }
    if (text_[at_] == '"') ++at_;
    field += text_[at_];
  }
  fail("csv", source_, ":", begun, ": a quote that is not closed");
}

std::string CsvReader::field() {
  if (at_ < text_.size() && text_[at_] == '"') return quoted_field();
  const size_t begin = at_;
  while (!at_end_of_field()) ++at_;
  return std::string(text_.substr(begin, at_ - begin));
}

std::vector<CsvRow> CsvReader::read() {
  std::vector<CsvRow> rows;
  while (at_ < text_.size()) {
    CsvRow row{.fields = {}, .line = line_};
    row.fields.push_back(field());
    while (at_ < text_.size() && text_[at_] == separator_) ++at_, row.fields.push_back(field());
    if (at_ < text_.size()) at_ += text_[at_] == '\r' ? 2 : 1, ++line_;
    if (row.fields.size() > 1 || !trimmed(row.fields[0]).empty()) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::vector<CsvRow> read_csv(std::string_view text, const std::string& source) {
  file_lines(text, source);  // refuses what is no text of ours
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return CsvReader(text, source).read();
}

}  // namespace sked
