"""The Jaco arm of dm_control on a table, as one compiled model that is painted and posed anew for every picture."""

from __future__ import annotations

import math

import numpy as np

from workings.chapters.darla.arm_looks import Look
from workings.chapters.darla.arm_renderer import open_dm_control

TIMESTEP = 0.002  # s
CONTROL = 20  # time steps in a control step of 0.04 s
BASE = (0.0, 0.4, 0.0)  # where the arm stands, m
ARM_JOINTS, FINGERS = 6, 3
LARGEST = math.radians(36.0)  # velocity of base, shoulder and elbow, rad/s
_CAMERA_AT, _CAMERA_AXES = (0.0, -0.6, 0.75), (1.0, 0.0, 0.0, 0.0, 0.7, 0.75)  # dm_control's "front_close"


class ArmModel:
    """A compiled model and its camera of ``size`` x ``size`` pixels. :meth:`close` frees both.

    What it does is a function of what it is given: no pose and no look stays from one call to the next. Raises
    :class:`~workings.chapters.public_models.NotHere` where dm_control or a renderer is missing.
    """

    def __init__(self, size: int):
        dm_control = open_dm_control()
        import mujoco
        from dm_control.entities.manipulators import kinova
        from dm_control.mujoco import engine

        self._mujoco = mujoco
        root = dm_control.mjcf.RootElement(model="reach")
        root.compiler.angle = "radian"
        root.option.timestep, root.option.cone = TIMESTEP, "elliptic"
        root.visual.map.znear = 0.01
        headlight = root.visual.headlight
        headlight.ambient, headlight.diffuse, headlight.specular = (0.35,) * 3, (0.0,) * 3, (0.0,) * 3
        root.statistic.extent, root.statistic.center = 2.0, (0.0, 0.0, 0.0)
        world, apart = root.worldbody, {"contype": 0, "conaffinity": 0}  # touched by nothing
        world.add("geom", name="table", type="plane", size=(3, 3, 0.1))
        world.add(
            "geom", name="wall", type="plane", pos=(0, 0.8, 0), xyaxes=(1, 0, 0, 0, 0, 1), size=(3, 3, 0.1), **apart
        )
        moved = world.add("body", name="moved", mocap="true")  # put where it should be, by no force
        moved.add("geom", name="object", type="sphere", size=(0.05,), **apart)
        world.add("light", name="lamp", pos=(0, -0.6, 1.6), dir=(0, 0.6, -1), directional="true", castshadow="false")
        world.add("camera", name="front", pos=_CAMERA_AT, xyaxes=_CAMERA_AXES)
        arm, hand = kinova.JacoArm(), kinova.JacoHand()
        arm.attach(hand)
        root.attach(arm.mjcf_model).pos = BASE
        self.physics = dm_control.mjcf.Physics.from_mjcf_model(root)
        self._model, self._data = self.physics.model.ptr, self.physics.data.ptr
        self._camera = engine.Camera(self.physics, size, size, "front")
        self._camera_quat = self._model.cam_quat[0].copy()
        place = lambda kind, name: mujoco.mj_name2id(self._model, kind, name)
        self._geoms = {name: place(mujoco.mjtObj.mjOBJ_GEOM, name) for name in ("table", "wall", "object")}
        self._palm = place(mujoco.mjtObj.mjOBJ_SITE, hand.tool_center_point.full_identifier)
        ranges = self._model.jnt_range[:ARM_JOINTS].copy()
        ranges[self._model.jnt_limited[:ARM_JOINTS] == 0] = (-np.inf, np.inf)
        self.ranges = ranges  # (6, 2) rad

    def close(self) -> None:
        """Free the model and its renderer; nothing else may be called afterwards."""
        self.physics.free()

    def pose(self, joints: np.ndarray, velocities: np.ndarray | None = None) -> None:
        """Put arm and fingers at ``joints`` (9,) rad, moving with ``velocities`` (9,) rad/s (default: at rest)."""
        data = self._data
        self._mujoco.mj_resetData(self._model, data)
        data.qpos[:] = joints
        data.qvel[:] = 0.0 if velocities is None else velocities

    def palm(self, joints: np.ndarray) -> np.ndarray:
        """Where the palm is (3,) m with arm and fingers at ``joints`` (9,)."""
        self.pose(joints)
        self._mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._palm].copy()

    def touches(self, joints: np.ndarray) -> bool:
        """Whether the arm at ``joints`` (9,) touches the table or itself."""
        self.pose(joints)
        self._mujoco.mj_forward(self._model, self._data)
        return self._data.ncon > 0

    def move(
        self, joints: np.ndarray, velocities: np.ndarray, wanted: np.ndarray, control_steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints and velocities (9,) after ``control_steps`` in which base, shoulder and elbow were asked for ``wanted`` (3,) rad/s."""
        self.pose(joints, velocities)
        self._data.ctrl[: len(wanted)] = wanted
        self._mujoco.mj_step(self._model, self._data, control_steps * CONTROL)
        return self._data.qpos.copy(), self._data.qvel.copy()

    def picture(self, joints: np.ndarray, target: np.ndarray, look: Look) -> np.ndarray:
        """The picture (size, size, 3) uint8 of arm at ``joints`` (9,) and object at ``target`` (3,) m in ``look``."""
        model, geoms = self._model, self._geoms
        for name in geoms:
            model.geom_rgba[geoms[name], :3] = getattr(look, name)
            model.geom_rgba[geoms[name], 3] = 1.0
        model.geom_size[geoms["object"], 0] = look.size
        model.light_diffuse[0] = look.light
        turn = np.array([math.cos(look.azimuth / 2), 0.0, 0.0, math.sin(look.azimuth / 2)])
        self._mujoco.mju_rotVecQuat(model.cam_pos[0], np.array(_CAMERA_AT), turn)
        self._mujoco.mju_mulQuat(model.cam_quat[0], turn, self._camera_quat)
        self.pose(joints)
        self._data.mocap_pos[0] = target
        self._mujoco.mj_forward(model, self._data)
        return self._camera.render().copy()
