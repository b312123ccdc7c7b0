// Tokens by SentencePiece: https://github.com/google/sentencepiece
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/build.h"
#include "core/error.h"
#include "core/file.h"
#include "core/fingerprint.h"
#include "core/text.h"
#include "data/sentencepiece_model.h"
#include "data/tokenizer.h"

namespace sked {
namespace {

const WithLibrary library("SentencePiece");

constexpr int64_t kMarkers = 4;  // padding, unknown, begin, end

/// Captions as the library wants to be given them.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(const std::vector<std::string>& captions) : captions_(captions) {}
  bool done() const override { return next_ == captions_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return captions_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  const std::vector<std::string>& captions_;
  size_t next_ = 0;
};

/// What the library says is wrong, without its source line and condition.
std::string reason(const sentencepiece::util::Status& status) {
  std::string_view message = status.message();
  if (const size_t condition = message.rfind("] "); condition != message.npos) message.remove_prefix(condition + 2);
  std::string line(message);
  std::ranges::replace(line, '\n', ' ');
  return line;
}

/// The bytes of a trained model.
std::string train_model(const std::vector<std::string>& captions, int64_t pieces) {
  const std::unordered_map<std::string, std::string> options{
      {"model_type", "bpe"},  // a unigram model takes a word whole only where others contain it, so captions of few
                              // words would be spelled
      {"vocab_size", std::to_string(pieces)},
      {"hard_vocab_limit", "false"},
      {"character_coverage", "1"},
      {"normalization_rule_name", "nmt_nfkc_cf"},
      {"max_sentence_length", std::to_string(1 << 20)},  // longer ones would be left out
      {"num_threads", "1"},                              // sums are made per thread
      {"pad_id", "0"},
      {"unk_id", "1"},
      {"bos_id", "2"},
      {"eos_id", "3"},
      {"minloglevel", "3"},  // nothing on stderr
  };
  Sentences sentences(captions);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(options, &sentences, &model);
  require(status.ok(), "tokenizer", "cannot train a vocabulary of ", pieces, " pieces: ", reason(status));
  return model;
}

}  // namespace

bool can_tokenize() { return true; }

struct Tokenizer::Model {
  /// `source` names the bytes in errors.
  Model(std::string model, const std::string& source) : bytes(std::move(model)) {
    check_sentencepiece_model(bytes, source);
    const auto status = processor.LoadFromSerializedProto(bytes);
    require(status.ok(), "tokenizer", source, ": ", reason(status));
    padding = processor.pad_id(), begin = processor.bos_id(), end = processor.eos_id();
    require(padding >= 0 && begin >= 0 && end >= 0 && std::set{padding, begin, end}.size() == 3, "tokenizer", source,
            ": expected markers for padding, begin and end, got ids ", padding, ", ", begin, " and ", end);
  }

  std::vector<int> pieces_of(const std::string& caption) const {
    std::vector<int> pieces;
    const auto status = processor.Encode(caption, &pieces);
    require(status.ok(), "tokenizer", "\"", excerpt(caption), "\": ", reason(status));
    return pieces;
  }

  std::string bytes;
  sentencepiece::SentencePieceProcessor processor;
  int padding = 0, begin = 0, end = 0;
};

Tokenizer Tokenizer::train(const std::vector<std::string>& captions, int64_t pieces) {
  constexpr int64_t kMostPieces = 1 << 20;
  constexpr size_t kMostBytes = size_t{1} << 30;
  require(pieces > kMarkers && pieces <= kMostPieces, "tokenizer", "expected ", kMarkers + 1, " to ", kMostPieces,
          " pieces, got ", pieces);
  size_t bytes = 0;
  for (size_t i = 0; i < captions.size(); ++i) {
    check_caption(captions[i], "caption " + std::to_string(i));
    bytes += captions[i].size();
  }
  require(bytes <= kMostBytes, "tokenizer", "captions of ", bytes, " bytes, expected at most ", kMostBytes);
  // The library leaves out captions with U+2585, its own sign, and ends the process when nothing is left of the others.
  // A vocabulary of one letter knows how it normalizes.
  const Model normalizer(train_model({"x"}, kMarkers + 2), "vocabulary");
  const bool some = std::ranges::any_of(captions, [&](const std::string& caption) {
    return caption.find("\xE2\x96\x85") == caption.npos && !normalizer.pieces_of(caption).empty();
  });
  require(some, "tokenizer", "nothing is left of ", captions.size(), " captions after normalization");
  return Tokenizer(std::make_shared<const Model>(train_model(captions, pieces), "vocabulary"));
}

Tokenizer Tokenizer::load(const std::string& path) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 25;
  return parse(read_file(path, kMostBytes), path);
}

Tokenizer Tokenizer::parse(std::string model, const std::string& source) {
  return Tokenizer(std::make_shared<const Model>(std::move(model), source));
}

const std::string& Tokenizer::bytes() const { return model_->bytes; }

void Tokenizer::save(const std::string& path) const { write_file(path, model_->bytes); }

int64_t Tokenizer::vocabulary() const { return model_->processor.GetPieceSize(); }

TokenBatch Tokenizer::encode(const std::vector<std::string>& captions, int64_t context, bool truncate) const {
  constexpr int64_t kLongestContext = 1 << 20;
  require(context >= 3 && context <= kLongestContext, "tokenizer", "expected a context in 3 to ", kLongestContext,
          ", got ", context);
  const auto count = static_cast<int64_t>(captions.size());
  TokenBatch batch{Tensor::full({count, context}, model_->padding, DType::i64), Tensor::empty({count}, DType::i64)};
  int64_t* ids = batch.ids.data<int64_t>();
  for (int64_t n = 0; n < count; ++n, ids += context) {
    const std::string& caption = captions[static_cast<size_t>(n)];
    const std::string which = count == 1 ? "the caption" : "caption " + std::to_string(n);
    check_caption(caption, which);
    const std::vector<int> pieces = model_->pieces_of(caption);
    const auto all = static_cast<int64_t>(pieces.size()), kept = std::min(all, context - 2);
    require(truncate || all == kept, "tokenizer", which, " \"", excerpt(caption), "\" has ", all,
            " pieces, expected at most ", context - 2, " for a context of ", context,
            " with its two markers (a longer text.context takes it, text.truncate cuts it)");
    ids[0] = model_->begin;
    std::copy_n(pieces.begin(), kept, ids + 1);
    ids[kept + 1] = model_->end;
    batch.ends.data<int64_t>()[n] = kept + 1;
  }
  return batch;
}

std::string Tokenizer::decode(std::span<const int64_t> ids) const {
  std::vector<int> pieces;
  for (const int64_t id : ids) {
    require(id >= 0 && id < vocabulary(), "tokenizer", "expected ids in 0 to ", vocabulary() - 1, ", got ", id);
    if (!model_->processor.IsControl(static_cast<int>(id))) pieces.push_back(static_cast<int>(id));
  }
  std::string text;
  const auto status = model_->processor.Decode(pieces, &text);
  require(status.ok(), "tokenizer", "cannot decode ", pieces.size(), " pieces: ", reason(status));
  return text;
}

std::string Tokenizer::fingerprint() const {
  Fingerprint bytes;
  bytes.add(model_->bytes.data(), model_->bytes.size());
  return bytes.hex();
}

}  // namespace sked
