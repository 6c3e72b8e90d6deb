"""kornia: colour, filters, geometry, losses, features, augmentation."""

import kornia as K
import torch
from report import show

g = torch.Generator().manual_seed(0)
x = torch.rand(2, 3, 24, 32, generator=g)
for name in ["rgb_to_grayscale", "rgb_to_hsv", "rgb_to_hls", "rgb_to_lab", "rgb_to_luv", "rgb_to_xyz", "rgb_to_ycbcr",
             "rgb_to_yuv", "rgb_to_bgr", "rgb_to_linear_rgb"]:
    show(f"color.{name}", getattr(K.color, name)(x))
show("color.hsv_to_rgb", K.color.hsv_to_rgb(K.color.rgb_to_hsv(x)))
show("filters.gaussian", K.filters.gaussian_blur2d(x, (5, 5), (1.5, 1.5)))
show("filters.box", K.filters.box_blur(x, (3, 3)))
show("filters.median", K.filters.median_blur(x, (3, 3)))
show("filters.sobel", K.filters.sobel(x))
show("filters.laplacian", K.filters.laplacian(x, 3))
show("filters.canny", K.filters.canny(x[:, :1])[0])
show("filters.unsharp", K.filters.unsharp_mask(x, (3, 3), (1.0, 1.0)))
show("filters.bilateral", K.filters.bilateral_blur(x, (3, 3), 0.1, (1.5, 1.5)))
show("geometry.resize", K.geometry.resize(x, (12, 16)))
show("geometry.rotate", K.geometry.rotate(x, torch.tensor([30.0, -15.0])))
show("geometry.translate", K.geometry.translate(x, torch.tensor([[3.0, 2.0], [0.0, -1.0]])))
show("geometry.scale", K.geometry.scale(x, torch.tensor([[1.5, 1.5], [0.5, 0.5]])))
show("geometry.hflip", K.geometry.hflip(x))
M = K.geometry.get_perspective_transform(
    torch.tensor([[[0.0, 0.0], [31.0, 0.0], [31.0, 23.0], [0.0, 23.0]]]),
    torch.tensor([[[2.0, 1.0], [29.0, 3.0], [30.0, 20.0], [1.0, 22.0]]]))
show("geometry.perspective", M)
show("geometry.warp", K.geometry.warp_perspective(x, M.repeat(2, 1, 1), (24, 32)))
show("geometry.axis_angle", K.geometry.axis_angle_to_rotation_matrix(torch.tensor([[0.1, 0.2, 0.3]])))
show("geometry.quaternion", K.geometry.rotation_matrix_to_quaternion(torch.eye(3)[None]))
show("losses.ssim", K.losses.ssim_loss(x, x.flip(-1), 5))
show("losses.dice", K.losses.dice_loss(torch.randn(2, 3, 8, 8, generator=g), torch.zeros(2, 8, 8, dtype=torch.long)))
show("losses.focal", K.losses.focal_loss(torch.randn(2, 3, 8, 8, generator=g), torch.ones(2, 8, 8, dtype=torch.long),
                                         alpha=0.5, reduction="mean"))
show("losses.tv", K.losses.total_variation(x))
show("losses.psnr", K.losses.psnr_loss(x, x * 0.9, 1.0))
show("enhance.brightness", K.enhance.adjust_brightness(x, 0.2))
show("enhance.contrast", K.enhance.adjust_contrast(x, 0.7))
show("enhance.saturation", K.enhance.adjust_saturation(x, 1.4))
show("enhance.hue", K.enhance.adjust_hue(x, 0.3))
show("enhance.gamma", K.enhance.adjust_gamma(x, 1.7))
show("enhance.normalize", K.enhance.normalize(x, torch.tensor([0.5] * 3), torch.tensor([0.2] * 3)))
show("enhance.equalize", K.enhance.equalize(x))
show("morphology.dilation", K.morphology.dilation(x, torch.ones(3, 3)))
show("morphology.opening", K.morphology.opening(x, torch.ones(3, 3)))
show("feature.harris", K.feature.harris_response(x[:, :1]))
torch.manual_seed(0)
augment = K.augmentation.AugmentationSequential(
    K.augmentation.RandomHorizontalFlip(p=0.5), K.augmentation.RandomAffine(degrees=20.0, p=1.0),
    K.augmentation.ColorJitter(0.2, 0.2, 0.2, 0.1, p=1.0), data_keys=["input"])
show("augmentation", augment(x))
y = x.clone().requires_grad_()
K.filters.gaussian_blur2d(K.geometry.rotate(y, torch.tensor([30.0, 10.0])), (3, 3), (1.0, 1.0)).pow(2).sum().backward()
show("gradient", y.grad)
