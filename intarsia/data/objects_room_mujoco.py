"""Objects Room, drawn by MuJoCo: one to three solids in a coloured room, 64x64, 6 segments.

A stand-in for Objects Room (Kabra et al., multi_object_datasets, 2019), whose scenes come from the same engine but can't be
shipped. The same are: the segments (sky, floor, walls, then the objects), one to three objects, varying views, lights and
colours, and three test variants: an empty room, four to six objects, and four to six objects of one colour. Different are:
all sizes, the colour of the sky, and the shapes, which are sphere, box, cylinder, capsule and cone. The sky is not darkened in
training, since its true mask would be needed.
"""

import ctypes.util
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intarsia.data.arrays import Contents, Material, Rows, stored_scenes
from intarsia.data.multi_objects import SPLITS_OF_THE_ORIGINAL
from intarsia.data.objects_room import ONLY_TEST
from intarsia.data.random import scene_keys
from intarsia.data.rooms import BOX, CAPSULE, CONE, CYLINDER, REACH, SPHERE, VARIANTS, Rooms, draw_rooms
from intarsia.data.scenes import Scenes
from intarsia.errors import InputError

NAME = "objects_room_mujoco"
SIZE = 64  # px
VIEW = 60  # degrees
MOST = max(most for _, most in VARIANTS.values())
BACKGROUNDS = 3  # segments: sky, floor, walls
EDGES = 48  # of a cone's base
SAMPLES = 4  # per px, for soft edges
SHADOWS = 512  # px of the shadow map
SCENES, TEST_SCENES = 20_000, 1_000  # of the training set, test scenes included; of a test variant
AT_ONCE = 50  # rooms in a piece

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]


def _cone() -> str:
    """The vertices of a cone of radius 1 and height 2 on the ground, as text."""
    around = 2 * np.pi * np.arange(EDGES) / EDGES
    ring = np.stack([np.cos(around), np.sin(around), np.zeros(EDGES)], axis=1)
    return " ".join(f"{value:.6f}" for value in [*ring.ravel(), 0, 0, 2])


# One model for all rooms: setting what differs in it is a hundred times faster than making a new model.
ROOM = f"""
<mujoco>
  <statistic extent="{REACH}" center="0 0 0"/>
  <visual>
    <global offwidth="{SIZE}" offheight="{SIZE}"/>
    <quality offsamples="{SAMPLES}" shadowsize="{SHADOWS}"/>
    <headlight diffuse="0 0 0" specular="0 0 0"/>
    <map znear="0.05" shadowclip="1.5" shadowscale="1"/>
  </visual>
  <asset>
    <texture name="sky" type="skybox" builtin="flat" rgb1="1 1 1" rgb2="1 1 1" width="4" height="24"/>
    <material name="plain" specular="0.1" shininess="0.3"/>
    {"".join(f'<mesh name="cone{i}" vertex="{_cone()}"/>' for i in range(MOST))}
  </asset>
  <worldbody>
    <light directional="true" castshadow="true" ambient="0 0 0"/>
    <camera fovy="{VIEW}"/>
    <geom type="box" size="{REACH} {REACH} 0.1" pos="0 0 -0.1" material="plain"/>
    <geom type="box" size="{REACH} 0.1 1" pos="0 {REACH} 0" material="plain"/>
    <geom type="box" size="{REACH} 0.1 1" pos="0 -{REACH} 0" material="plain"/>
    <geom type="box" size="0.1 {REACH} 1" pos="{REACH} 0 0" material="plain"/>
    <geom type="box" size="0.1 {REACH} 1" pos="-{REACH} 0 0" material="plain"/>
    {'<geom type="sphere" size="1" material="plain"/>' * MOST}
  </worldbody>
</mujoco>
"""
FLOOR, WALLS = 0, slice(1, 5)  # geoms
FIRST = 5  # geom of the first object
ADVICE = "install Debian's package libegl1 or libosmesa6, or set MUJOCO_GL to egl or osmesa"
SEGMENT = np.array([0, 1, 2, 2, 2, 2, *range(BACKGROUNDS, BACKGROUNDS + MOST)], np.uint8)  # of the sky, then of each geom


def material(variant: str, source: Path | None) -> Material:
    """The arrays to write: rooms of one of `VARIANTS`. All variants but "train" have only test scenes.

    Raises:
        InputError: if a file is given, or MuJoCo can't draw here.
    """
    if source is not None:
        raise InputError(f"{NAME} is drawn by MuJoCo, from no file: leave out --from {source}.")
    most = VARIANTS[variant][1]
    training = variant == "train"
    with _drawing(1) as pool:
        version = pool.submit(_version).result()
    splits = SPLITS_OF_THE_ORIGINAL if training else ONLY_TEST
    contents = Contents(NAME, f"MuJoCo {version}, {variant}", SIZE, SIZE, BACKGROUNDS + most, splits, BACKGROUNDS)
    count = SCENES if training else TEST_SCENES
    return Material(contents, partial(_rows_from, variant, count), count)


def open_scenes(seed: int, split: str, data_root: Path | None, size: tuple[int, int] | None = None) -> Scenes:
    """The scenes of a split, from a prepared folder."""
    if data_root is None:
        raise InputError(f"{NAME} is drawn once: `intarsia prepare {NAME}`, then --data-root FOLDER.")
    return stored_scenes(data_root, NAME, seed, split)


def _rows_from(variant: str, count: int, start: int) -> Iterator[Rows]:
    """Yield rooms `start` to `count` - 1 in pieces, drawn by one process per core."""
    pieces = [np.arange(first, min(first + AT_ONCE, count)) for first in range(start, count, AT_ONCE)]
    with _drawing(os.cpu_count() or 1) as pool:
        for images, masks in pool.map(partial(render, variant), pieces):
            yield {"images": images, "masks": masks}


def _drawing(processes: int) -> ProcessPoolExecutor:
    """Processes for drawing, since MuJoCo's back end is fixed for a process; Ctrl-C is left to the main process."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # the slow imports happen once, not in each process
    return ProcessPoolExecutor(processes, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


def _version() -> str:
    return str(_artist().mujoco.__version__)


def render(variant: str, indices: NDArray[np.int64]) -> tuple[Bytes, Bytes]:
    """Draw rooms of one of `VARIANTS`: images `b h w 3`, and the segment of each pixel `b h w`.

    Raises:
        InputError: if MuJoCo is not installed or can't draw here.
    """
    rooms = draw_rooms(scene_keys(list(VARIANTS).index(variant), "rooms", indices), variant)
    drawn = [_artist().draw(Rooms(*(values[i] for values in rooms))) for i in range(len(indices))]
    images, masks = zip(*drawn, strict=True)
    return np.stack(images), np.stack(masks)


@cache
def _artist() -> "_Artist":
    """The one drawing context of this process: to make one takes as long as to draw a hundred rooms."""
    return _Artist(_mujoco())


def _mujoco() -> ModuleType:
    """The module mujoco, with a back end that needs no screen, which is fixed at the first import."""
    if sys.platform == "linux" and "MUJOCO_GL" not in os.environ:
        found = [way for way, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if ctypes.util.find_library(library)]
        if not found:
            raise InputError(f"There is neither EGL nor OSMesa for MuJoCo to draw with: {ADVICE}.")
        os.environ["MUJOCO_GL"] = found[0]
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise InputError("Rooms are drawn by MuJoCo, which is not installed: pip install 'intarsia[rooms]'.") from error
    except Exception as error:  # a missing library or screen: each back end has errors of its own
        raise InputError(f"MuJoCo can't draw with {os.environ.get('MUJOCO_GL')} ({error}): {ADVICE}.") from error
    return mujoco


class _Artist:
    """MuJoCo's model and drawing context, used for one room after the other."""

    def __init__(self, mujoco: Any) -> None:
        self.mujoco = mujoco
        self.model = mujoco.MjModel.from_xml_string(ROOM)
        try:
            self.window = mujoco.GLContext(SIZE, SIZE)
            self.window.make_current()
            self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_50)
        except Exception as error:  # each back end has errors of its own
            raise InputError(f"MuJoCo can't draw with {os.environ.get('MUJOCO_GL')} ({error}): {ADVICE}.") from error
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        self.vertices = self.model.mesh_vert.copy()
        self.scene = mujoco.MjvScene(self.model, maxgeom=self.model.ngeom)
        self.option, self.camera = mujoco.MjvOption(), mujoco.MjvCamera()
        self.camera.type, self.camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)

    def draw(self, room: Rooms) -> tuple[Bytes, Bytes]:
        """Draw one room (`Rooms` without the first axis): image `h w 3`, and the segment of each pixel `h w`."""
        self._furnish(room)
        for i in range(MOST):
            self.model.geom_rgba[FIRST + i, 3] = i < room.number
        for i in range(room.number):
            self._put(i, room)
        self.mujoco.mjv_updateScene(
            self.model, self.data, self.option, None, self.camera, self.mujoco.mjtCatBit.mjCAT_ALL, self.scene
        )
        image = self._picture(segments=False)
        numbers = self._picture(segments=True)[..., 0]  # 0 for the sky, else 1 + the index in the scene's list
        geoms = [geom.objid for geom in self.scene.geoms[: self.scene.ngeom]]
        return image, SEGMENT[[0, *(1 + geom for geom in geoms)]][numbers]

    def _furnish(self, room: Rooms) -> None:
        """Set colours, walls, light and camera."""
        model, data = self.model, self.data
        sky, model.geom_rgba[FLOOR, :3], model.geom_rgba[WALLS, :3] = room.colours[:3]
        model.geom_rgba[FIRST : FIRST + len(room.colours) - 3, :3] = room.colours[3:]
        model.tex_data[:] = np.tile(np.rint(255 * sky).astype(np.uint8), len(model.tex_data) // 3)
        self.mujoco.mjr_uploadTexture(model, self.context, 0)
        model.geom_size[WALLS, 2] = data.geom_xpos[WALLS, 2] = room.wall / 2
        model.vis.headlight.ambient[:], model.light_diffuse[:] = room.ambient, 1 - room.ambient
        data.light_xdir[:], data.light_xpos[:] = room.light, -2 * REACH * room.light
        data.cam_xpos[0] = room.eye
        ahead = np.array([np.sin(room.turn), np.cos(room.turn), 0])
        right = np.array([np.cos(room.turn), -np.sin(room.turn), 0])
        forward = np.cos(room.tilt) * ahead - np.array([0, 0, np.sin(room.tilt)])
        data.cam_xmat[0] = np.stack([right, np.cross(right, forward), -forward], axis=1).ravel()

    def _put(self, i: int, room: Rooms) -> None:
        """Give object i its shape, size and place."""
        model, data, types = self.model, self.data, self.mujoco.mjtGeom
        geom, radius, half = FIRST + i, room.radius[i], room.height[i] / 2
        cosine, sine = np.cos(room.angle[i]), np.sin(room.angle[i])
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        side = radius / np.sqrt(2)  # of a box with its corners on the circle
        thin = min(0.6 * radius, 0.9 * half)  # the radius of a capsule, which is higher than wide
        kind, size, middle = {
            SPHERE: (types.mjGEOM_SPHERE, (radius, 0, 0), radius),
            BOX: (types.mjGEOM_BOX, (side, side, half), half),
            CYLINDER: (types.mjGEOM_CYLINDER, (0.8 * radius, half, 0), half),
            CAPSULE: (types.mjGEOM_CAPSULE, (thin, half - thin, 0), half),
            CONE: (types.mjGEOM_MESH, (radius, radius, radius), 0.0),
        }[room.shape[i]]
        place = np.array([*room.place[i], middle])
        model.geom_dataid[geom] = -1
        if room.shape[i] == CONE:  # MuJoCo has moved and turned the vertices into the frame of the cone's inertia
            model.geom_dataid[geom] = i
            first, count = model.mesh_vertadr[i], model.mesh_vertnum[i]
            model.mesh_vert[first : first + count] = radius * self.vertices[first : first + count]
            self.mujoco.mjr_uploadMesh(model, self.context, i)
            place = place + turn @ (radius * model.mesh_pos[i])
            frame = np.empty(9)
            self.mujoco.mju_quat2Mat(frame, model.mesh_quat[i])
            turn = turn @ frame.reshape(3, 3)
        model.geom_type[geom], model.geom_size[geom] = kind, size
        data.geom_xpos[geom], data.geom_xmat[geom] = place, turn.ravel()

    def _picture(self, segments: bool) -> Bytes:
        for flag in (self.mujoco.mjtRndFlag.mjRND_SEGMENT, self.mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self.scene.flags[flag] = segments
        pixels, view = np.empty((SIZE, SIZE, 3), np.uint8), self.mujoco.MjrRect(0, 0, SIZE, SIZE)
        self.mujoco.mjr_render(view, self.scene, self.context)
        self.mujoco.mjr_readPixels(pixels, None, view, self.context)
        return pixels[::-1]
