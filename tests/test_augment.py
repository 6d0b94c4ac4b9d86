"""Changes of batches and of single images, and mixing, against torchvision, Pillow and plain loops."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms import v2

from hybridlib.data import MemoryImages, read_image
from hybridlib.data import augment as augmenting
from hybridlib.data.augment import BatchRandom, Cutout, Mix, Shift, flip
from hybridlib.data.image_changes import AutoAugment, Erase, RandAugment, RandomResizedCrop
from hybridlib.training.batches import Changes, Order

IMAGES = torch.randint(
    0, 256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.tensor([0, 1, 2, 3, 1, 2, 3, 0])


# ------------------------------------------------------------------------------------------ batches


def test_crop_shifts_each_image_by_its_own_offset():
    images = torch.randint(1, 256, (16, 3, 32, 32), dtype=torch.uint8)
    shifted_images, _ = augmenting.crop(images, torch.zeros(16), BatchRandom(3, size=16))
    offsets = set()
    for before, after in zip(images, shifted_images):
        padded_image = F.pad(before, (4, 4, 4, 4))
        hits = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if torch.equal(padded_image[:, y : y + 32, x : x + 32], after)
        ]
        assert len(hits) == 1
        offsets.add(hits[0])
    assert len(offsets) > 8


def test_shift_takes_a_window_of_each_image_with_mirrored_edges():
    images = torch.randint(256, (64, 3, 12, 10), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    shifted_images, _ = augmenting.apply(Shift(2), images, torch.zeros(64), BatchRandom(3, size=64))
    mirrored_images = F.pad(images.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    shifts = set()
    for image, source in zip(shifted_images, mirrored_images):
        matches = [
            (y, x)
            for y, x in itertools.product(range(5), range(5))
            if torch.equal(image, source[:, y : y + 12, x : x + 10])
        ]
        assert len(matches) == 1
        shifts.update(matches)
    assert len(shifts) > 15  # of 25: rows and columns are drawn apart
    with pytest.raises(ValueError, match="pixels=10 must be below the side of the images, 12x10"):
        augmenting.apply(Shift(10), images, torch.zeros(64), BatchRandom(3, size=64))
    with pytest.raises(ValueError, match="pixels=0 must be greater than 0"):
        Shift(0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutout_fills_one_square_of_each_image_with_its_mean(dtype):
    images = torch.randint(256, (200, 3, 6, 5), generator=torch.Generator().manual_seed(0))
    images = images.to(dtype)
    cut_images, labels = Cutout(3)(images, torch.arange(200), BatchRandom(3, size=200))
    assert cut_images.dtype == dtype and torch.equal(labels, torch.arange(200))
    places = set()
    for image, source in zip(cut_images, images):
        mean = source.double().mean((1, 2))
        matches = []
        for y, x in itertools.product(range(4), range(3)):
            expected = source.double()
            expected[:, y : y + 3, x : x + 3] = mean[:, None, None]
            if (image - expected).abs().max() <= (0.5 if dtype == torch.uint8 else 1e-4):
                matches.append((y, x))
        assert len(matches) == 1
        places.update(matches)
    assert len(places) == 12  # every place where it lies wholly inside
    with pytest.raises(ValueError, match="pixels=5 must be below the side of the images, 6x5"):
        Cutout(5)(images, labels, BatchRandom(3, size=200))
    with pytest.raises(ValueError, match="pixels=0 must be greater than 0"):
        Cutout(0)


def test_flip_mirrors_about_half():
    images = torch.rand(400, 3, 4, 4)
    flipped_images, _ = augmenting.flip(images, torch.zeros(400), BatchRandom(0, size=400))
    is_mirrored = (flipped_images == images.flip(3)).flatten(1).all(1)
    same = (flipped_images == images).flatten(1).all(1)
    assert (is_mirrored ^ same).all() and 160 < is_mirrored.sum() < 240


@pytest.mark.parametrize("augment", ["crop-flip", "shift-flip-cutout"])
def test_augmentation_of_a_share_is_the_share_of_the_augmentation(augment):
    images, labels = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8), torch.arange(12)
    whole, _ = augmenting.apply(augment, images, labels, BatchRandom(5, size=12))
    for part in (slice(0, None, 3), slice(1, None, 3)):
        part_images, _ = augmenting.apply(
            augment, images[part], labels[part], BatchRandom(5, size=12, part=part)
        )
        assert torch.equal(part_images, whole[part])
    again, _ = augmenting.apply(augment, images, labels, BatchRandom(6, size=12))
    assert not torch.equal(again, whole)


def test_unknown_augmentation_lists_what_there_is():
    with pytest.raises(ValueError, match="'mirror'.*none, flip, crop, crop-flip"):
        augmenting.find("mirror")


# ------------------------------------------------------------------------------------------- mixing


@pytest.mark.parametrize("seed", range(4))
def test_mixup_is_its_formula_pixel_by_pixel(seed):
    mix = Mix(4, mixup=0.8, cutmix=0)
    images, targets = mix(IMAGES, LABELS, BatchRandom(seed, size=8))
    fraction = float(targets[0, 0])  # of images 0 and 4, with labels 0 and 1
    assert 0 < fraction < 1 and targets[0, 1] == pytest.approx(1 - fraction)
    for i in range(8):
        j = (i + 4) % 8
        expected = fraction * IMAGES[i].double() / 255 + (1 - fraction) * IMAGES[j].double() / 255
        assert torch.allclose(images[i].double(), expected, atol=1e-6)
        label = np.zeros(4)
        label[LABELS[i]] += fraction
        label[LABELS[j]] += 1 - fraction
        assert targets[i].numpy() == pytest.approx(label, abs=1e-6)


def test_shares_of_mixup_follow_the_beta_distribution():
    fractions = [
        float(Mix(4, mixup=0.8, cutmix=0)(IMAGES, LABELS, BatchRandom(s, size=8))[1][0, 0])
        for s in range(600)
    ]
    expected = torch.distributions.Beta(0.8, 0.8)
    assert np.mean(fractions) == pytest.approx(0.5, abs=0.04)
    assert np.var(fractions) == pytest.approx(float(expected.variance), abs=0.01)


def test_cutmix_pastes_the_part_that_the_labels_say():
    """Counted pixel by pixel: black images get the white of their partners."""
    images = torch.zeros(8, 3, 12, 20, dtype=torch.uint8)
    images[4:] = 255
    labels = torch.tensor([0] * 4 + [1] * 4)
    areas = set()
    for seed in range(30):
        mixed_images, targets = Mix(2, mixup=0, cutmix=1.0)(
            images, labels, BatchRandom(seed, size=8)
        )
        for i in range(8):
            area = sum(
                bool(mixed_images[i, 0, y, x] != (i >= 4)) for y in range(12) for x in range(20)
            )
            assert targets[i, 1 if i < 4 else 0] == pytest.approx(area / 240, abs=1e-6)
        rows, columns = (
            (mixed_images[0, 0] == 1).any(1).nonzero(),
            (mixed_images[0, 0] == 1).any(0).nonzero(),
        )
        assert area == len(rows) * len(columns)  # a rectangle
        areas.add(area)
    assert len(areas) > 15


def test_probability_and_switch():
    kinds = []
    for seed in range(300):
        images, targets = Mix(4, probability=0.8, switch=0.5)(
            IMAGES, LABELS, BatchRandom(seed, size=8)
        )
        if targets.ndim == 1:
            kinds.append("none")
            assert torch.equal(images, IMAGES)
        else:  # cutmix leaves every pixel as it was in one of the two
            one, other = IMAGES / 255, IMAGES.roll(4, 0) / 255
            kinds.append("cutmix" if ((images == one) | (images == other)).all() else "mixup")
    assert kinds.count("none") == pytest.approx(60, abs=21)
    assert kinds.count("cutmix") == pytest.approx(120, abs=26)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_mix_as_one(processes):
    for seed in range(6):
        whole = Mix(4)(IMAGES, LABELS, BatchRandom(seed, size=8))
        for rank in range(processes):
            part = slice(rank, None, processes)
            random = BatchRandom(seed, size=8, part=part)
            for a, b in zip(Mix(4)(IMAGES[part], LABELS[part], random), whole):
                assert torch.equal(a, b[part])


def test_mixing_smoothed_labels_is_smoothing_mixed_labels():
    images, targets = Mix(4, mixup=1.0, cutmix=0)(IMAGES, LABELS, BatchRandom(1, size=8))
    logits = images.flatten(1)[:, :4] * 3
    smooth = 0.9 * F.one_hot(LABELS, 4).double() + 0.1 / 4
    fraction = float(targets[0, 0])
    mixed_targets = fraction * smooth + (1 - fraction) * smooth.roll(4, 0)
    expected = -(mixed_targets * logits.double().log_softmax(1)).sum(1).mean()
    assert F.cross_entropy(logits, targets, label_smoothing=0.1) == pytest.approx(float(expected))


def test_mixing_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Mix(4)(IMAGES, LABELS, BatchRandom(0, size=8))
    augmenting.apply((RandAugment(),), IMAGES, LABELS, BatchRandom(0, size=8))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mix(4, mixup=0, cutmix=0), "mixup=0 and cutmix=0 must be .* and not both 0"),
        (lambda: Mix(4, mixup=1e-300), "mixup=1e-300 and cutmix=1.0 must be 0, or 0.001 or more"),
        (lambda: Mix(4, switch=2), "switch=2 must be between 0 and 1"),
        (lambda: Mix(4)(IMAGES[:5], LABELS[:5], BatchRandom(0, size=5)), "and 5 are no pairs"),
        (lambda: RandAugment(magnitude=11), "magnitude=11 must be from 0 to levels=10"),
        (lambda: Erase(1.5), "probability=1.5"),
        (lambda: RandomResizedCrop((0.5, 3)), r"scale\[1\]=3 must be between 0 and 1"),
        (lambda: augmenting.find((flip, Erase())), r"^Erase\(.*must stand before"),
        (
            lambda: augmenting.find(nn.Identity()),
            r"augment=Identity\(\) must take three arguments: ",
        ),
        (
            lambda: augmenting.apply(
                v2.RandomHorizontalFlip(), IMAGES, LABELS, BatchRandom(0, size=8)
            ),
            r"augment=RandomHorizontalFlip gave .*, not a pair: .* for example augment=lambda images,",
        ),
    ],
)
def test_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------------------- single images


def test_randaugment_is_torchvisions_on_the_same_random_state():
    bilinear = v2.InterpolationMode.BILINEAR
    theirs = v2.RandAugment(2, 9, num_magnitude_bins=11, interpolation=bilinear)
    different = 0
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs(IMAGES[0])
        torch.manual_seed(seed)
        assert torch.equal(RandAugment()(IMAGES[0]), expected)
        different += not torch.equal(expected, IMAGES[0])
    assert different > 15


def test_deviation_of_randaugments_magnitude(monkeypatch):
    pairs = []

    class RecordedRandAugment(v2.RandAugment):
        def __init__(self, operations, magnitude, *, num_magnitude_bins, **look):
            super().__init__(operations, magnitude, num_magnitude_bins=num_magnitude_bins, **look)
            pairs.append((operations, magnitude / (num_magnitude_bins - 1)))

    monkeypatch.setattr(v2, "RandAugment", RecordedRandAugment)
    torch.manual_seed(0)
    for _ in range(100):
        assert RandAugment(2, 5, deviation=0.5)(IMAGES[0]).dtype == torch.uint8
    assert len(pairs) == 200 and {operations for operations, _ in pairs} == {1}
    magnitudes = [magnitude for _, magnitude in pairs]
    assert np.mean(magnitudes) == pytest.approx(0.5, abs=0.02)
    assert np.std(magnitudes) == pytest.approx(0.05, abs=0.01)
    pairs.clear()
    for _ in range(50):
        RandAugment(2, 10, deviation=0.5)(IMAGES[0])
    assert max(magnitude for _, magnitude in pairs) == 1


def test_autoaugment_is_torchvisions_on_the_same_random_state():
    theirs = v2.AutoAugment(interpolation=v2.InterpolationMode.BILINEAR)
    for seed in range(10):
        torch.manual_seed(seed)
        expected = theirs(IMAGES[1])
        torch.manual_seed(seed)
        assert torch.equal(AutoAugment()(IMAGES[1]), expected)


def test_erasing_puts_noise_like_the_images_into_a_rectangle():
    erase = Erase(0.25, mean=(0.3, 0.5, 0.7), std=(0.05, 0.1, 0.02))
    image = torch.full((3, 64, 64), 1, dtype=torch.uint8)
    torch.manual_seed(0)
    hit, noise = 0, [[], [], []]
    for _ in range(400):
        erased_image = erase(image)
        is_changed = (erased_image != 1).any(0)
        if not is_changed.any():
            continue
        hit += 1
        rows, columns = is_changed.any(1).nonzero(), is_changed.any(0).nonzero()
        area = len(rows) * len(columns)
        assert is_changed.sum() == area and 0.015 < area / 64**2 < 0.35
        for channel in range(3):
            noise[channel].append(erased_image[channel][is_changed].double() / 255)
    assert hit == pytest.approx(100, abs=30)
    values = [torch.cat(n) for n in noise]
    assert [float(v.mean()) for v in values] == pytest.approx([0.3, 0.5, 0.7], abs=0.005)
    assert [float(v.std()) for v in values] == pytest.approx([0.05, 0.1, 0.02], abs=0.005)


def test_random_resized_crop_is_torchvisions_on_the_same_random_state():
    theirs = v2.RandomResizedCrop(16, antialias=True)
    for seed in range(10):
        torch.manual_seed(seed)
        expected = theirs(IMAGES[2])
        torch.manual_seed(seed)
        assert torch.equal(RandomResizedCrop()(IMAGES[2]), expected)


# ------------------------------------------------------------------------------------- from files


@pytest.fixture
def photo():
    """80 x 60 pixels that tell where they are."""
    y, x = np.mgrid[0:60, 0:80]
    return Image.fromarray(np.stack([3 * x, 4 * y, 255 - 3 * x], axis=-1).astype(np.uint8))


def cut(picture, box, side):
    """The same with Pillow."""
    top, left, height, width = box
    part = picture.crop((left, top, left + width, top + height))
    part = part.resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)


def close(one, other, *, most):
    return (one.int() - other.int()).abs().max() <= most


def test_window_of_a_file_is_pillows_crop(photo, tmp_path):
    box, sizes = (5, 30, 40, 20), []

    def window(height, width):
        sizes.append((height, width))
        return box

    photo.save(tmp_path / "photo.png")
    image = read_image(tmp_path / "photo.png", 10, window=window)
    assert sizes == [(60, 80)] and close(image, cut(photo, box, 10), most=1)
    assert not close(image, cut(photo, (5, 20, 40, 20), 10), most=20)
    # larger than the window: it is enlarged
    image = read_image(tmp_path / "photo.png", 64, window=window)
    assert image.shape == (3, 64, 64) and close(image, cut(photo, box, 64), most=2)


def test_window_of_a_picture_on_its_side_is_of_the_upright_picture(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.png", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "turned.png"))
    assert upright.size == (60, 80)
    box, sizes = (30, 5, 20, 40), []
    image = read_image(tmp_path / "turned.png", 10, window=lambda h, w: sizes.append((h, w)) or box)
    assert sizes == [(80, 60)] and close(image, cut(upright, box, 10), most=1)


def test_window_of_a_large_jpeg_is_found_where_it_is_decoded_smaller(photo, tmp_path, monkeypatch):
    large = photo.resize((1600, 1200), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    decoded_sizes = []
    transpose = ImageOps.exif_transpose
    monkeypatch.setattr(
        ImageOps, "exif_transpose", lambda p: decoded_sizes.append(p.size) or transpose(p)
    )
    for box, size in (((200, 400, 800, 1000), (400, 300)), ((100, 300, 150, 120), (1600, 1200))):
        image = read_image(tmp_path / "large.jpg", 64, window=lambda h, w, box=box: box)
        assert decoded_sizes.pop() == size and close(image, cut(large, box, 64), most=5)


def test_files_and_memory_are_cut_alike(photo, tmp_path):
    photo.save(tmp_path / "photo.png")
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    images = MemoryImages(pixels, torch.zeros(1), image_size=20, mean=(0.5,) * 3, std=(0.5,) * 3)
    box = (5, 30, 40, 20)
    one = images.view(0, lambda h, w: box)
    assert torch.equal(one, read_image(tmp_path / "photo.png", 20, window=lambda h, w: box))


# ----------------------------------------------------------------------------------- in a training


def test_what_is_drawn_depends_on_seed_step_and_place_alone():
    images = MemoryImages(IMAGES, LABELS, image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    changes = (RandomResizedCrop(), RandAugment(deviation=0.5), Erase(0.5))
    positions = torch.tensor([3, 3, 3, 3, 0, 1, 2, 5])
    whole = Changes(changes, 0, range(8)).batch(images, positions, step=4)
    assert torch.equal(whole[1], LABELS[positions])
    for rank in range(2):
        part = Changes(changes, 0, range(8)[rank::2]).batch(images, positions[rank::2], step=4)
        assert torch.equal(part[0], whole[0][rank::2])
    copies = {image.numpy().tobytes() for image in whole[0][:4]}
    assert len(copies) == 4  # one image, changed in four ways
    for seed, step in ((0, 5), (1, 4)):
        other = Changes(changes, seed, range(8)).batch(images, positions, step=step)
        assert not torch.equal(other[0], whole[0])


def test_repeated_augmentation_repeats_the_same_stream():
    plain, three = Order(10, 4, seed=0), Order(10, 4, seed=0, repeats=3)
    stream = torch.cat([plain.positions(s) for s in range(6)]).tolist()
    repeated_stream = torch.cat([three.positions(s) for s in range(15)]).tolist()
    assert repeated_stream == [image for image in stream[:20] for _ in range(3)]
    assert Order(10, 4, seed=0, repeats=2**40).positions(3).tolist() == stream[:1] * 4
