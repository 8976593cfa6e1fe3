#include "proxy/io/traffic_file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "runtime/random.h"

namespace trunkline::proxy {

struct TrafficFile::Header {
  uint64_t layout;
  char epoch[40];
  char boot_id[40];
  std::atomic<uint64_t> sequence;
  std::atomic<uint32_t> closed;
};

namespace {

constexpr uint64_t kLayout = 0x746c74726166'0001;
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kBytes = kHeaderBytes + TrafficFile::kMostCells * sizeof(TrafficCell);
// As many cells get their place on the disk at once: a page without one would be fatal to write.
constexpr size_t kReserve = 512;

std::string this_boot() {
  char buffer[40] = {};
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t got = ::read(fd, buffer, 36);
  ::close(fd);
  return got == 36 ? std::string(buffer) : std::string();
}

void put_text(char* to, size_t size, const std::string& text) {
  std::memset(to, 0, size);
  std::memcpy(to, text.data(), std::min(text.size(), size - 1));
}

}  // namespace

TrafficFile::TrafficFile(const std::string& path) {
  static_assert(sizeof(Header) <= kHeaderBytes && sizeof(TrafficCell) == 128);
  if (path.empty() || !map(path)) map_memory();
  header_ = static_cast<Header*>(memory_);
  if (!goes_on()) begin_epoch();
  header_->closed = 0;
  put_text(header_->boot_id, sizeof header_->boot_id, this_boot());
  if (fd_ >= 0) msync(memory_, kHeaderBytes, MS_SYNC);
  while (size_ < reserved_ && cells()[size_].used.load(std::memory_order_acquire) != 0) ++size_;
}

TrafficFile::~TrafficFile() {
  if (fd_ >= 0) {
    msync(memory_, kHeaderBytes + reserved_ * sizeof(TrafficCell), MS_SYNC);
    header_->closed = 1;
    msync(memory_, kHeaderBytes, MS_SYNC);
    close(fd_);
  }
  munmap(memory_, kBytes);
}

bool TrafficFile::map(const std::string& path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct stat found{};
  const bool there = fd_ >= 0 && fstat(fd_, &found) == 0;
  const auto bytes = static_cast<size_t>(there ? found.st_size : 0);
  if (there && posix_fallocate(fd_, 0, kHeaderBytes) == 0) {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (memory != MAP_FAILED) {
      memory_ = memory;
      if (bytes > kHeaderBytes) reserved_ = (bytes - kHeaderBytes) / sizeof(TrafficCell);
      reserved_ = std::min(reserved_, kMostCells);
      return true;
    }
  }
  spdlog::error("{}: {}; what is counted does not survive this process", path,
                std::strerror(errno));
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  return false;
}

void TrafficFile::map_memory() {
  memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory_ == MAP_FAILED) throw std::bad_alloc();
  reserved_ = kMostCells;
}

bool TrafficFile::goes_on() const {
  if (header_->layout != kLayout || header_->epoch[36] != '\0') return false;
  return header_->closed != 0 || header_->boot_id == this_boot();
}

void TrafficFile::begin_epoch() {
  if (fd_ >= 0) {
    // Also frees what the cells of the old epoch took.
    if (ftruncate(fd_, 0) != 0 || posix_fallocate(fd_, 0, kHeaderBytes) != 0) {
      spdlog::error("the file of what is counted: {}", std::strerror(errno));
      munmap(memory_, kBytes);
      close(fd_);
      fd_ = -1;
      map_memory();
      header_ = static_cast<Header*>(memory_);
    } else {
      reserved_ = 0;
    }
  }
  std::memset(memory_, 0, kHeaderBytes);
  put_text(header_->epoch, sizeof header_->epoch, runtime::new_uuid());
  header_->layout = kLayout;
}

TrafficCell* TrafficFile::cells() const {
  return reinterpret_cast<TrafficCell*>(static_cast<char*>(memory_) + kHeaderBytes);
}

std::string TrafficFile::epoch() const { return header_->epoch; }

uint64_t TrafficFile::next_sequence() { return header_->sequence.fetch_add(1) + 1; }

bool TrafficFile::reserve(size_t count) {
  if (count <= reserved_) return true;
  const size_t more = std::min(reserved_ + kReserve, kMostCells);
  if (count > more) return false;
  const auto end = static_cast<off_t>(kHeaderBytes + more * sizeof(TrafficCell));
  if (posix_fallocate(fd_, 0, end) != 0) return false;
  reserved_ = more;
  return true;
}

TrafficCell* TrafficFile::add(const EndpointName& endpoint) {
  if (!reserve(size_ + 1)) return nullptr;
  TrafficCell& cell = cells()[size_];
  put_text(cell.instance, sizeof cell.instance, endpoint.instance.str());
  cell.read_only = endpoint.kind == EndpointKind::read_only;
  for (auto* counter :
       {&cell.bytes_in, &cell.bytes_out, &cell.connections_opened, &cell.connection_us}) {
    counter->store(0, std::memory_order_relaxed);
  }
  cell.used.store(1, std::memory_order_release);
  ++size_;
  return &cell;
}

}  // namespace trunkline::proxy
