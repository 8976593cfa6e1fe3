// A message that is too large for one, in pieces: how they are named, and put together again.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "bus/bus.h"

namespace trunkline::bus {

inline constexpr char kPieceHeader[] = "Tl-Piece";
inline constexpr size_t kMostPieces = 32;
inline constexpr size_t kPieceOverhead = 512;  // the header, and what is put before the data

// `id` is never used again; `number` from 0.
std::string piece_name(const std::string& id, size_t number, size_t count);
// What no Protobuf parser takes for a message, and no JSON parser for a text.
std::string piece_data(std::string_view part);

// The pieces of messages that have not come whole yet. They come in order from each sender; what
// loses one is dropped, and so is the oldest when there is too much. Not thread-safe.
class PieceStore {
 public:
  // `message`: without the header, whose value is `piece`. The whole one with its last piece.
  std::optional<Message> add(std::string_view piece, Message&& message);
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kMostBytes = 128 * 1024 * 1024;
  static constexpr size_t kMostMessages = 256;
  struct Part {
    std::string id;
    size_t next = 0;
    size_t count = 0;
    std::string data;
  };
  void drop(std::list<Part>::iterator part);

  std::list<Part> parts_;  // oldest first
  size_t bytes_ = 0;
};

}  // namespace trunkline::bus
