// The golden files: for every event type of every aggregate its bytes as a release wrote them
// (<aggregate>/<type>.bin) and the same as text (<type>.textproto). A file is never changed; fields
// that come later are shown by a further file (<type>.2.bin). Not thread-safe.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace trunkline::golden {

struct EventType {
  std::string aggregate;                                  // "instance"
  const google::protobuf::FieldDescriptor* member;        // of the oneof; its name is the type's
  std::unique_ptr<google::protobuf::Message> new_event() const;  // the aggregate's event message
  std::string name() const { return member->name(); }
};
std::vector<EventType> all_event_types();

// The type's golden files without their suffix, in order: "…/instance/node_placed".
std::vector<std::filesystem::path> files_of(const EventType& type,
                                            const std::filesystem::path& root);

// Fields of the event's message and of the messages in it ("size.cpu") that no golden file of the
// type has set: what a reader of old bytes has never seen.
std::vector<std::string> fields_never_set(const EventType& type,
                                          const std::filesystem::path& root);

// An event of the type with every field set, to values that tell the fields apart.
std::unique_ptr<google::protobuf::Message> filled(const EventType& type);

std::string read_file(const std::filesystem::path& path);  // throws std::runtime_error

}  // namespace trunkline::golden
