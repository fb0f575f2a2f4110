// FAISS for clip-index, as a module with C functions (score/faiss.h). Exceptions end here: they become
// messages.
#include "score/faiss.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/invlists/InvertedLists.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <omp.h>
#include <stdexcept>
#include <vector>

namespace
{

constexpr int ITERATIONS = 16; // of k-means: the default, 25, finds no more
constexpr std::int64_t CHUNK = 256;

// The centroids. Vectors are shared out among threads here, as OpenBLAS has one thread in each of these
// programs.
struct Centroids : faiss::IndexFlatIP {
    using faiss::IndexFlatIP::IndexFlatIP;

    void search(std::int64_t n, const float *x, std::int64_t k, float *distances, std::int64_t *labels,
                const faiss::SearchParameters *params) const override
    {
        std::exception_ptr failed;
#pragma omp parallel for schedule(dynamic)
        for (std::int64_t i = 0; i < n; i += CHUNK) {
            try {
                faiss::IndexFlatIP::search(std::min(CHUNK, n - i), x + i * d, k, distances + i * k,
                                           labels + i * k, params);
            } catch (...) {
#pragma omp critical(failed)
                failed = std::current_exception();
            }
        }
        if (failed)
            std::rethrow_exception(failed);
    }
};

// Lists that lie in a mapped file.
struct Mapped : faiss::ReadOnlyInvertedLists {
    const clip_faiss_lists &lists;

    Mapped(size_t n, size_t code, const clip_faiss_lists &where)
        : ReadOnlyInvertedLists(n, code), lists(where)
    {
    }
    size_t list_size(size_t i) const override
    {
        return lists.offsets[i + 1] - lists.offsets[i];
    }
    const std::uint8_t *get_codes(size_t i) const override
    {
        return lists.codes + lists.offsets[i] * code_size;
    }
    const std::int64_t *get_ids(size_t i) const override
    {
        return lists.numbers + lists.offsets[i];
    }
};

struct Present : faiss::IDSelector {
    const clip_faiss_lists &lists;

    explicit Present(const clip_faiss_lists &where) : lists(where)
    {
    }
    bool is_member(std::int64_t id) const override
    {
        auto i = static_cast<std::uint64_t>(id);
        return i < lists.count && !(lists.removed && lists.removed[i / 8] >> i % 8 & 1);
    }
};

struct Index {
    Centroids centroids;
    faiss::IndexIVFScalarQuantizer ivf;

    Index(size_t width, size_t lists, int threads)
        : centroids(width),
          ivf(&centroids, width, lists, faiss::ScalarQuantizer::QT_8bit, faiss::METRIC_INNER_PRODUCT)
    {
        omp_set_num_threads(threads);
    }
};

// What `work` does, or why it does not.
template <typename Work> int attempt(char *why, size_t why_size, Work work)
{
    try {
        work();
        return 0;
    } catch (const std::bad_alloc &) {
        std::snprintf(why, why_size, "out of memory");
    } catch (const std::exception &error) {
        std::snprintf(why, why_size, "%s", error.what());
    } catch (...) {
        std::snprintf(why, why_size, "an unknown error");
    }
    why[std::strcspn(why, "\n")] = '\0';
    return -1;
}

int train(const float *sample, size_t n, size_t width, size_t lists, int threads, float *centroids,
          float *ranges, char *why, size_t why_size)
{
    return attempt(why, why_size, [&] {
        Index index(width, lists, threads);
        index.ivf.cp.niter = ITERATIONS;
        index.ivf.cp.spherical = true;
        index.ivf.cp.min_points_per_centroid = 1; // fewer than 39 would be a message of FAISS's own
        index.ivf.train(n, sample);
        if (index.ivf.sq.trained.size() != 2 * width || index.centroids.ntotal != std::int64_t(lists))
            throw std::runtime_error("this version of FAISS trains something else");
        std::copy(index.ivf.sq.trained.begin(), index.ivf.sq.trained.end(), ranges);
        index.centroids.reconstruct_n(0, lists, centroids);
    });
}

void *open_index(size_t width, size_t lists, const float *centroids, const float *ranges, int threads,
                 char *why, size_t why_size)
{
    std::unique_ptr<Index> index;
    attempt(why, why_size, [&] {
        auto made = std::make_unique<Index>(width, lists, threads);
        made->centroids.add(lists, centroids);
        made->ivf.sq.trained.assign(ranges, ranges + 2 * width);
        made->ivf.is_trained = true;
        index = std::move(made);
    });
    return index.release();
}

void close_index(void *index)
{
    delete static_cast<Index *>(index);
}

int assign(void *index, size_t n, const float *x, std::int64_t *list_of, char *why, size_t why_size)
{
    return attempt(why, why_size, [&] { static_cast<Index *>(index)->centroids.assign(n, x, list_of); });
}

int encode(void *index, size_t n, const float *x, const std::int64_t *list_of, std::uint8_t *codes, char *why,
           size_t why_size)
{
    return attempt(why, why_size,
                   [&] { static_cast<Index *>(index)->ivf.encode_vectors(n, x, list_of, codes); });
}

int search(void *index, const clip_faiss_lists *lists, size_t n, const float *x, size_t most, size_t probes,
           std::int64_t *found, char *why, size_t why_size)
{
    return attempt(why, why_size, [&] {
        auto &ivf = static_cast<Index *>(index)->ivf;
        Mapped mapped(ivf.nlist, ivf.code_size, *lists);
        Present present(*lists);
        faiss::SearchParametersIVF how;
        std::vector<float> scores(n * most);
        how.nprobe = std::min(probes, size_t(ivf.nlist));
        how.sel = &present;
        ivf.replace_invlists(&mapped, false);
        try {
            ivf.search(n, x, most, scores.data(), found, &how);
        } catch (...) {
            ivf.replace_invlists(nullptr, false);
            throw;
        }
        ivf.replace_invlists(nullptr, false);
    });
}

} // namespace

const struct clip_faiss clip_faiss = {train, open_index, close_index, assign, encode, search};
